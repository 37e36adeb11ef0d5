package test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"warmfront/test/harness"
)

func TestServerSentEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, coding := range []string{"identity", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			// So many that a proxy which waits for the end, or for a full buffer, would not be done in time.
			req, err := http.NewRequestWithContext(limit(t), http.MethodGet, w.URL+"/events?n=100000&ms=100", nil)
			ok(t, err)
			req.Header.Set("Accept-Encoding", coding)
			res, err := client(t).Do(req)
			ok(t, err)
			defer res.Body.Close()
			if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
				t.Fatalf("got %d %q, expected an event stream", res.StatusCode, res.Header.Get("Content-Type"))
			}
			var from io.Reader = res.Body
			if res.Header.Get("Content-Encoding") == "gzip" {
				from, err = gzip.NewReader(res.Body)
				ok(t, err)
			}
			lines := bufio.NewScanner(from)
			for n := 0; n < 3 && lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "data:") {
					n++
				}
			}
			ok(t, lines.Err())
		})
	}
}

func TestWebSocketEchoes(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	ctx := limit(t)
	c, _, err := websocket.Dial(ctx, strings.Replace(w.URL, "http", "ws", 1)+"/ws", nil)
	ok(t, err)
	defer c.CloseNow()
	c.SetReadLimit(1 << 21)
	for _, m := range []struct {
		kind websocket.MessageType
		data []byte
	}{
		{websocket.MessageText, []byte("hello")}, {websocket.MessageText, []byte("again, é")},
		{websocket.MessageBinary, []byte{0, 255, 1}}, {websocket.MessageBinary, bytes.Repeat([]byte("x"), 100<<10)},
	} {
		ok(t, c.Write(ctx, m.kind, m.data))
		kind, got, err := c.Read(ctx)
		ok(t, err)
		if kind != m.kind || !bytes.Equal(got, m.data) {
			t.Fatalf("sent %v %.40q (%d bytes), got %v %.40q (%d bytes)", m.kind, m.data, len(m.data), kind, got, len(got))
		}
	}
	ok(t, c.Close(websocket.StatusNormalClosure, "bye"))
}

const large = 50 << 20

// noise is large bytes that no compression makes smaller, without holding them.
type noise struct{ left, state int }

// Read gives the next bytes of a fixed sequence.
func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), n.left)]
	for i := range p {
		n.state = n.state*1103515245 + 12345
		p[i] = byte(n.state >> 16)
	}
	n.left -= len(p)
	return len(p), nil
}

// bounded runs f and compares the growth of Warmfront's peak memory with what went through it.
func bounded(t *testing.T, w *harness.Server, f func()) {
	t.Helper()
	before, known, err := w.PeakMemory()
	ok(t, err)
	f()
	after, _, err := w.PeakMemory()
	ok(t, err)
	if grown := after - before; known && grown > large/2 {
		t.Fatalf("Warmfront's memory grew by %d MiB while %d MiB were streamed", grown>>20, large>>20)
	}
}

func TestLargeUploadRunsInConstantMemory(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	whole := sha256.New()
	_, err := io.Copy(whole, &noise{left: large})
	ok(t, err)
	want := hex.EncodeToString(whole.Sum(nil))
	for name, length := range map[string]int64{"with a Content-Length": large, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			bounded(t, w, func() {
				req, err := http.NewRequestWithContext(limit(t), http.MethodPost, w.URL+"/upload", &noise{left: large})
				ok(t, err)
				req.ContentLength = length
				req.Header.Set("Content-Type", "application/octet-stream")
				res, err := client(t).Do(req)
				ok(t, err)
				defer res.Body.Close()
				var got struct {
					Bytes  int
					SHA256 string
				}
				ok(t, json.NewDecoder(res.Body).Decode(&got))
				if got.Bytes != large || got.SHA256 != want {
					t.Fatalf("the server got %d bytes (sha256 %s), sent were %d (sha256 %s)", got.Bytes, got.SHA256, large, want)
				}
			})
		})
	}
}

func TestLargeDownloadRunsInConstantMemory(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	path := "/download-large?bytes=" + strconv.Itoa(large)
	want := digest(t, up.URL+path)
	bounded(t, w, func() {
		if got := digest(t, w.URL+path); got != want {
			t.Fatalf("downloaded %s, directly %s", got, want)
		}
	})
}

// digest downloads without holding the body.
func digest(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(limit(t), http.MethodGet, url, nil)
	ok(t, err)
	res, err := client(t).Do(req)
	ok(t, err)
	defer res.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, res.Body)
	ok(t, err)
	return strconv.Itoa(res.StatusCode) + " " + strconv.FormatInt(n, 10) + " bytes " + hex.EncodeToString(sum.Sum(nil))
}

func TestTrailersPass(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	direct, a := get(t, up.URL+"/trailers"), get(t, w.URL+"/trailers")
	expect(t, a, 200)
	sameBody(t, a, direct)
	if len(direct.Trailer) == 0 {
		t.Fatalf("the server sent no trailers\n%s", direct)
	}
	for name := range direct.Trailer {
		if got, want := a.Trailer.Get(name), direct.Trailer.Get(name); got != want {
			t.Fatalf("trailer %s is %q, expected %q\n%s", name, got, want, a)
		}
	}
}

func TestHEADGetsTheHeaderAlone(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range []string{"/api/changelog", "/api/candles/SPY?limit=100", "/download-large?bytes=1000"} {
		direct, a := send(t, "HEAD", up.URL+path, nil), send(t, "HEAD", w.URL+path, nil)
		expect(t, a, direct.Status, "Content-Type: "+direct.Header.Get("Content-Type"), "Content-Length: "+direct.Header.Get("Content-Length"))
		if len(a.Wire) != 0 {
			t.Fatalf("a HEAD with a body\n%s", a)
		}
	}
}

func TestRangesAndConditionsPass(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	url := "/download-large?bytes=1000"
	whole := get(t, up.URL+url)
	expect(t, whole, 200, "Etag: *")
	part := get(t, w.URL+url, "Range: bytes=10-19")
	expect(t, part, 206, "Content-Range: bytes 10-19/1000", "Etag: "+whole.Header.Get("Etag"))
	expectBody(t, part, whole.Wire[10:20])
	rest := get(t, w.URL+url, "Range: bytes=990-")
	expect(t, rest, 206, "Content-Range: bytes 990-999/1000")
	expectBody(t, rest, whole.Wire[990:])
	log := get(t, up.URL+"/api/changelog")
	expect(t, get(t, w.URL+"/api/changelog", "If-None-Match: "+log.Header.Get("Etag")), 304)
}

func TestExpectContinueIsAnsweredBeforeTheBody(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range []string{"/upload", "/api/backtest"} {
		c := dial(t, w.URL)
		_, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		ok(t, err)
		from := bufio.NewReader(c)
		line, err := from.ReadString('\n')
		ok(t, err)
		if !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Fatalf("%s: got %q before the body, expected 100 Continue", path, line)
		}
		_, err = from.ReadString('\n')
		ok(t, err)
		_, err = io.WriteString(c, "{}")
		ok(t, err)
		a := readAnswer(t, from, "POST", path)
		if a.Status != 200 && a.Status != 400 {
			t.Fatalf("%s: expected the server's answer\n%s", path, a)
		}
	}
}

func TestLeavingAStreamEndsItAtTheServer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	seen := observe(t, up, "/events")
	w := warmfront(t, seen.url, nil)
	ctx, leave := context.WithCancel(limit(t))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/events?n=100000&ms=50", nil)
	ok(t, err)
	res, err := client(t).Do(req)
	ok(t, err)
	within(t, "the stream begins", seen.began)
	leave()
	within(t, "the stream ends at the server", seen.ended)
	_ = res.Body.Close()
}
