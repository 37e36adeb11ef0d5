package proxy

import (
	"io"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// A coding is a content coding that an answer can be sent in.
type coding int

// Answers are at hand in gzip. The others are made on the way, quickly rather than small, for clients that don't take it.
const (
	identity coding = iota
	gzipCoding
	brotliCoding
	zstdCoding
	deflate
	codings
)

// String gives the coding's name in header fields.
func (c coding) String() string {
	return [...]string{"identity", "gzip", "br", "zstd", "deflate"}[c]
}

// brotliLevel is where brotli takes about as long as reading the gzip that it is made from.
const brotliLevel = 1

// codingFor chooses the coding for a client with these Accept-Encoding fields (RFC 9110, section 12.5.3): gzip if it is
// accepted, else the one with the greatest weight, unless the client would rather have none. Where nothing fits it is none,
// also for a client that excludes that: an answer is better than 406.
func codingFor(fields []string) coding {
	q := weights(fields)
	if q[gzipCoding] > 0 && q[gzipCoding] >= q[identity] {
		return gzipCoding
	}
	best := brotliCoding
	for c := best + 1; c < codings; c++ {
		if q[c] > q[best] {
			best = c
		}
	}
	if q[best] <= 0 || q[best] < q[identity] {
		return identity
	}
	return best
}

// weights gives the weight of each coding, those that are not named as "*" says. Identity has one only where it is named.
func weights(fields []string) (q [codings]float64) {
	var named [codings]bool
	rest := 0.0
	for _, line := range fields {
		for item := range strings.SplitSeq(line, ",") {
			name, parameter, _ := strings.Cut(item, ";")
			name = strings.TrimSpace(name)
			if name == "*" {
				rest = max(rest, weight(parameter))
			}
			for c := range codings {
				// x-gzip is gzip (RFC 9110, section 8.4.1.3).
				if strings.EqualFold(name, c.String()) || c == gzipCoding && strings.EqualFold(name, "x-gzip") {
					q[c], named[c] = max(q[c], weight(parameter)), true
				}
			}
		}
	}
	for c := gzipCoding; c < codings; c++ {
		if !named[c] {
			q[c] = rest
		}
	}
	return q
}

// weight reads a q parameter (RFC 9110, section 12.4.2); anything else counts as 1.
func weight(parameter string) float64 {
	name, value, ok := strings.Cut(strings.TrimSpace(parameter), "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0) {
		return 0
	}
	return q
}

// recode sends a gzip body in another coding.
func recode(w io.Writer, body io.Reader, to coding) error {
	z, err := gzip.NewReader(body)
	if err != nil {
		return err
	}
	into, err := to.writer(w)
	if err != nil {
		return err
	}
	if _, err = io.Copy(into, z); err != nil {
		return err // what was not whole is not ended as if it were
	}
	return into.Close()
}

func (c coding) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case zstdCoding:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	case brotliCoding:
		return brotli.NewWriterV2(w, brotliLevel), nil
	case deflate:
		return zlib.NewWriterLevel(w, zlib.BestSpeed)
	case gzipCoding:
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	}
	return unclosed{w}, nil
}

type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
