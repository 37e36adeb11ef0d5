package test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"warmfront/test/harness"
)

// dial opens a socket to a server.
func dial(t *testing.T, url string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), 5*time.Second)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ok(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.TCPConn)
}

// raw writes bytes to a server as they are and reads an answer. What no HTTP library would send goes
// this way.
func raw(t *testing.T, url, bytes string) *harness.Answer {
	t.Helper()
	c := dial(t, url)
	_, err := io.WriteString(c, bytes)
	ok(t, err)
	method, _, _ := strings.Cut(bytes, " ")
	return readAnswer(t, bufio.NewReader(c), method, bytes)
}

// cutShort is raw for bytes after which the client says that no more will follow.
func cutShort(t *testing.T, url, bytes string) *harness.Answer {
	t.Helper()
	c := dial(t, url)
	_, err := io.WriteString(c, bytes)
	ok(t, err)
	ok(t, c.CloseWrite())
	return readAnswer(t, bufio.NewReader(c), "POST", bytes)
}

// readAnswer reads the final answer, past any 1xx.
func readAnswer(t *testing.T, from *bufio.Reader, method, sent string) *harness.Answer {
	t.Helper()
	res, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("sent %.300q, got no answer: %v", sent, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 == 1 {
		return readAnswer(t, from, method, sent)
	}
	a := &harness.Answer{Request: harness.Request{Method: method, Body: []byte(sent)}, Status: res.StatusCode, Header: res.Header}
	a.Wire, a.Broken = io.ReadAll(res.Body)
	return a
}
