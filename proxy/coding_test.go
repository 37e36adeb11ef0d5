package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

func TestAcceptEncodingIsReadAsRFC9110Says(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   coding
	}{
		{nil, identity}, {[]string{""}, identity}, {[]string{"gzip"}, gzipCoding}, {[]string{"br, gzip;q=0.5"}, gzipCoding},
		{[]string{"gzip;q=0"}, identity}, {[]string{"GZIP"}, gzipCoding}, {[]string{"identity"}, identity}, {[]string{"*"}, gzipCoding},
		{[]string{"*;q=0"}, identity}, {[]string{"gzip;q=0, *"}, brotliCoding}, {[]string{"deflate", "x-gzip"}, gzipCoding},
		{[]string{"gzip; q=0.000"}, identity}, {[]string{"gzipped"}, identity}, {[]string{"gzip;q=nonsense"}, identity}, {[]string{"gzip;q=NaN"}, identity},
		{[]string{"br"}, brotliCoding}, {[]string{"BR;q=0.1"}, brotliCoding}, {[]string{"br;q=0"}, identity}, {[]string{"br, zstd;q=0.9"}, brotliCoding},
		{[]string{"deflate;q=0.3, br;q=0.2"}, deflate}, {[]string{"compress, br"}, brotliCoding}, {[]string{"zstd"}, zstdCoding},
		{[]string{"identity, br;q=0.5"}, identity}, {[]string{"gzip;q=0.5, identity;q=0.6"}, identity}, {[]string{"identity;q=0, compress"}, identity},
		{[]string{"br;q=0.5, identity;q=0.5"}, brotliCoding}, {[]string{"gzip, deflate, br, zstd"}, gzipCoding},
	} {
		if got := codingFor(c.fields); got != c.want {
			t.Errorf("Accept-Encoding %q: %s, want %s", c.fields, got, c.want)
		}
	}
}

func decoded(t *testing.T, body io.Reader, from coding) []byte {
	t.Helper()
	var err error
	switch from {
	case gzipCoding:
		body, err = gzip.NewReader(body)
	case zstdCoding:
		var z *zstd.Decoder
		z, err = zstd.NewReader(body)
		defer z.Close()
		body = z
	case brotliCoding:
		body = brotli.NewReader(body)
	case deflate:
		body, err = zlib.NewReader(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestClientThatDoesNotTakeGzipGetsWhatItTakes(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(backtestAnswer("2026-01-14", 5000)) }
	plain := backtestAnswer("2026-01-14", 5000)
	expect(t, run(p, `{}`, nil), "MISS")
	etags := map[string]bool{}
	for _, as := range []coding{identity, gzipCoding, zstdCoding, brotliCoding, deflate} {
		w := run(p, `{}`, http.Header{"Accept-Encoding": {as.String()}})
		expect(t, w, "HIT")
		if got := w.Header().Get("Content-Encoding"); got != as.String() && as != identity || as == identity && got != "" {
			t.Fatalf("Accept-Encoding %s: sent in %q", as, got)
		}
		if as != identity && w.Body.Len() > len(plain)/2 {
			t.Errorf("%s: %d bytes of %d", as, w.Body.Len(), len(plain))
		}
		if got := decoded(t, w.Body, as); !bytes.Equal(got, plain) {
			t.Errorf("%s: decoded to %d bytes %.80q, want %d", as, len(got), got, len(plain))
		}
		etag := w.Header().Get("Etag")
		if etags[etag] || strings.HasPrefix(etag, "W/") {
			t.Errorf("%s: ETag %s, want a strong one of its own", as, etag)
		}
		etags[etag] = true
		again := run(p, `{}`, http.Header{"Accept-Encoding": {as.String()}, "If-None-Match": {etag}})
		if again.Code != http.StatusNotModified || again.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: status %d with %v for its own ETag, want 304", as, again.Code, again.Header())
		}
	}
}

func BenchmarkRecode(b *testing.B) {
	plain := backtestAnswer("2026-01-14", 60_000)
	z, err := compress(plain)
	if err != nil {
		b.Fatal(err)
	}
	for _, as := range []coding{identity, zstdCoding, brotliCoding, deflate} {
		b.Run(as.String(), func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				if err := recode(io.Discard, bytes.NewReader(z), as); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
