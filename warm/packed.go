package warm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// A request as the journal keeps it is magic, checksum, and a zstd frame of JSON. The journal may be in a
// Redis that others write to: whatever doesn't read back whole is dropped, never guessed at.
const (
	packedMagic = "WFJ1"
	packedHead  = len(packedMagic) + 8
	// maxPacked bounds what one request may take in the journal, in bytes. A strategy of a megabyte
	// compresses to a tenth of that.
	maxPacked = 1 << 20
	// maxUnpacked bounds what a packed request may unpack to: MAX_REQUEST's default, and some.
	maxUnpacked = 64 << 20
)

var (
	errPacked   = errors.New("warm: not a packed request")
	errTooLarge = errors.New("warm: request too large for the journal")
)

// asked is what must be known of a request to ask it again.
type asked struct {
	Method string   `json:"m"`
	Target string   `json:"t"` // path and query, as written
	Body   string   `json:"b,omitempty"`
	Bots   []string `json:"n,omitempty"` // the saved bots that the answer depends on
}

// coders are made once: an encoder has megabytes of tables. Both are safe for use by many at once.
var coders = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		panic(err)
	}
	return e, d
})

// pack makes bytes of a request. The error is errTooLarge when they would be too many.
func pack(a *asked) ([]byte, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("warm: packing a request: %w", err)
	}
	if len(plain) > maxUnpacked {
		return nil, errTooLarge
	}
	encoder, _ := coders()
	out := make([]byte, packedHead, packedHead+len(plain)/4+64)
	copy(out, packedMagic)
	out = encoder.EncodeAll(plain, out)
	if len(out) > maxPacked {
		return nil, errTooLarge
	}
	binary.BigEndian.PutUint64(out[len(packedMagic):], xxhash.Sum64(out[packedHead:]))
	return out, nil
}

// unpack is the way back. Its errors wrap errPacked.
func unpack(b []byte) (*asked, error) {
	if len(b) < packedHead || len(b) > maxPacked || !bytes.HasPrefix(b, []byte(packedMagic)) {
		return nil, errPacked
	}
	if binary.BigEndian.Uint64(b[len(packedMagic):]) != xxhash.Sum64(b[packedHead:]) {
		return nil, fmt.Errorf("%w: damaged", errPacked)
	}
	_, decoder := coders()
	plain, err := decoder.DecodeAll(b[packedHead:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	var a asked
	if err := json.Unmarshal(plain, &a); err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	return &a, nil
}
