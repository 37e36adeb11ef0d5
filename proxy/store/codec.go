package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"
)

// The format of a value in Redis, version 1:
//
//	offset  size  what
//	0       4     "WFE1": format and version; another version is a miss, not an error
//	4       4     n, big-endian: length of the description
//	8       n     description: JSON, see description below
//	8+n     m     body as stored (gzip when the description says so)
//	8+n+m   8     XXH64 of everything before it, big-endian
//
// The checksum finds truncated and overwritten values; it is no protection against somebody who
// can write to Redis.
const magic = "WFE1"

const (
	prologue = len(magic) + 4
	epilogue = 8
)

// ErrForeign means that a value in Redis is not an entry of this version, or a damaged one.
var ErrForeign = errors.New("store: not an entry of this version, or a damaged one")

// description is what the value says about its body. Times are Unix milliseconds, spans are
// milliseconds.
type description struct {
	Key         string      `json:"key"`
	Status      int         `json:"status"`
	Header      http.Header `json:"header"`
	Gzip        bool        `json:"gzip,omitempty"`
	Length      int         `json:"length"`
	Digest      string      `json:"digest"`
	StoredAt    int64       `json:"storedAt"`
	Fresh       int64       `json:"fresh"`
	Stale       int64       `json:"stale"`
	Provisional string      `json:"provisional,omitempty"`
	Open        string      `json:"openUnder,omitempty"`
	Spelling    string      `json:"spelling,omitempty"` // absent in older values
}

// Encode gives the entry's value in Redis.
func Encode(e *Entry) ([]byte, error) {
	d, err := json.Marshal(description{
		Key: e.Key, Status: e.Status, Header: e.Header, Gzip: e.Gzip, Length: e.Length,
		Digest: e.Digest, StoredAt: e.StoredAt.UnixMilli(), Fresh: e.Fresh.Milliseconds(),
		Stale: e.Stale.Milliseconds(), Provisional: e.Provisional, Open: e.Open, Spelling: e.Spelling,
	})
	if err != nil {
		return nil, fmt.Errorf("describing the entry %s: %w", e.Key, err)
	}
	b := make([]byte, 0, prologue+len(d)+len(e.Body)+epilogue)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(d)))
	b = append(b, d...)
	b = append(b, e.Body...)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b)), nil
}

// Decode reads a value from Redis that was asked for under key. Whatever is not an intact entry of
// that key is ErrForeign: a miss that the next fill overwrites. The entry keeps b.
func Decode(key string, b []byte) (*Entry, error) {
	if len(b) < prologue+epilogue || string(b[:len(magic)]) != magic {
		return nil, ErrForeign
	}
	end := len(b) - epilogue
	if xxhash.Sum64(b[:end]) != binary.BigEndian.Uint64(b[end:]) {
		return nil, ErrForeign
	}
	n := int(binary.BigEndian.Uint32(b[len(magic):]))
	if n > end-prologue {
		return nil, ErrForeign
	}
	var d description
	if err := json.Unmarshal(b[prologue:prologue+n], &d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if d.Key != key || d.Status != http.StatusOK || d.Length < 0 {
		return nil, ErrForeign
	}
	e := &Entry{
		Key: d.Key, Status: d.Status, Header: d.Header, Gzip: d.Gzip, Length: d.Length,
		Digest: d.Digest, StoredAt: time.UnixMilli(d.StoredAt),
		Fresh: time.Duration(d.Fresh) * time.Millisecond, Stale: time.Duration(d.Stale) * time.Millisecond,
		Provisional: d.Provisional, Open: d.Open, Spelling: d.Spelling, Body: b[prologue+n : end : end],
	}
	return e.Prepare(), nil
}
