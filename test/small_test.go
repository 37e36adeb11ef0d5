package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"warmfront/test/harness"
)

func TestOptionsStarIsTheServersToAnswer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	const request = "OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: http://app.example\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
	direct, a := raw(t, up.URL, request), raw(t, w.URL, request)
	expect(t, a, direct.Status)
	if got, want := crossOrigin(a), crossOrigin(direct); fmt.Sprint(got) != fmt.Sprint(want) || len(want) == 0 {
		t.Fatalf("CORS fields %q, expected the server's own %q\n%s", got, want, a)
	}
}

// A server whose answers are longer than they say, as when two of them are mixed up: net/http prints the rest.
func TestBytesOfABodyNeverGetIntoTheLog(t *testing.T) {
	t.Parallel()
	const secret = "a strategy of somebody's"
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		if strings.HasPrefix(r.URL.Path, "/none") {
			_, _ = fmt.Fprintf(c, "%s: no status line\r\n\r\n", secret)
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok%s", secret)
		_, _ = c.Read(make([]byte, 1)) // until the other side closes
	}))
	t.Cleanup(odd.Close)
	w := launched(t, odd.URL, harness.Env{"LOG_LEVEL": "debug"})
	expect(t, get(t, w.URL+"/more"), 200)
	expect(t, get(t, w.URL+"/none"), 502)
	expect(t, get(t, w.URL+"/api/candles/SPY?limit=no"), 200) // passed on an intercepted route
	until(t, func() error {
		for _, said := range []string{"Unsolicited response", "malformed HTTP"} {
			if !strings.Contains(w.Output(), said) {
				return fmt.Errorf("the log does not tell of %q yet", said)
			}
		}
		return nil
	})
	for _, line := range strings.Split(w.Output(), "\n") {
		if strings.Contains(line, secret) || !strings.HasPrefix(line, "20") && line != "" {
			t.Errorf("printed: %q; expected lines of the log, without what came over the connection", line)
		}
	}
}

// A browser always offers gzip; some programs offer brotli alone.
func TestClientThatOffersOnlyBrotliGetsItCompressed(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	path := "/api/candles/SPY?limit=300"
	plain := get(t, w.URL+path)
	for range 2 {
		a := get(t, w.URL+path, "Accept-Encoding: br")
		expect(t, a, 200, "X-Cache: HIT", "Content-Encoding: br", "Etag: *")
		sameBody(t, a, plain)
		if len(a.Wire) > len(plain.Wire)/2 {
			t.Fatalf("%d bytes of %d\n%s", len(a.Wire), len(plain.Wire), a)
		}
	}
	expect(t, get(t, w.URL+path, "Accept-Encoding: br;q=0"), 200, "X-Cache: HIT", "Content-Encoding:")
	first := get(t, w.URL+"/api/candles/QQQ?limit=300", "Accept-Encoding: br")
	expect(t, first, 200, "X-Cache: MISS", "Content-Encoding: br")
}
