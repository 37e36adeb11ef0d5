package harness

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
)

// A Request is sent as it is written here: nothing is added but Host, Content-Length and what Header
// says. Header lines are "Name: value".
type Request struct {
	Method string
	URL    string
	Header []string
	Body   []byte
}

// An Answer is what came, with the body as it was on the wire.
type Answer struct {
	Request Request
	Status  int
	Header  http.Header
	Trailer http.Header
	Wire    []byte
	Broken  error // the body ended before its end
	Took    time.Duration
}

// NewClient gives a client that neither asks for compression nor undoes it, with connections of its
// own.
func NewClient() *http.Client {
	return &http.Client{
		Timeout: 2 * time.Minute,
		// Node closes an idle connection after five seconds, and a request that is just being sent fails with it.
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: 2 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// Build makes the request for net/http.
func (r Request) Build(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"User-Agent": {"warmfront-test"}}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range r.Header {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "Host"):
			req.Host = value
		case strings.EqualFold(name, "Content-Type"):
			req.Header.Set(name, value)
		default:
			req.Header.Add(name, value)
		}
	}
	return req, nil
}

// Send sends the request and takes the answer in. The error says that there was none.
func Send(ctx context.Context, c *http.Client, r Request) (*Answer, error) {
	req, err := r.Build(ctx)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	res, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, shorten(r.URL, 300), err)
	}
	defer res.Body.Close()
	a := &Answer{Request: r, Status: res.StatusCode, Header: res.Header}
	a.Wire, a.Broken = io.ReadAll(res.Body)
	a.Trailer, a.Took = res.Trailer, time.Since(started)
	return a, nil
}

// Body is the body with its content coding undone.
func (a *Answer) Body() ([]byte, error) {
	switch coding := a.Header.Get("Content-Encoding"); coding {
	case "":
		return a.Wire, nil
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(a.Wire))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case "br":
		return io.ReadAll(brotli.NewReader(bytes.NewReader(a.Wire)))
	default:
		return nil, fmt.Errorf("no decoder for Content-Encoding %q", coding)
	}
}

// String shows what was sent and what came, for the message of a failing test.
func (a *Answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent:\n  %s %s\n", a.Request.Method, shorten(a.Request.URL, 300))
	for _, line := range a.Request.Header {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if a.Request.Body != nil {
		fmt.Fprintf(&b, "  (%d bytes) %s\n", len(a.Request.Body), shorten(string(a.Request.Body), 300))
	}
	fmt.Fprintf(&b, "came after %v:\n  %d\n", a.Took.Round(time.Millisecond), a.Status)
	names := make([]string, 0, len(a.Header))
	for name := range a.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range a.Header[name] {
			fmt.Fprintf(&b, "  %s: %s\n", name, shorten(value, 200))
		}
	}
	body, err := a.Body()
	if err != nil {
		fmt.Fprintf(&b, "  (%v)\n", err)
		body = a.Wire
	}
	fmt.Fprintf(&b, "  (%d bytes) %s\n", len(body), shorten(string(body), 300))
	if a.Broken != nil {
		fmt.Fprintf(&b, "  broken off: %v\n", a.Broken)
	}
	return b.String()
}

// shorten keeps what is printed readable.
func shorten(s string, limit int) string {
	clean := strings.ToValidUTF8(s, "�")
	if len(clean) <= limit {
		return clean
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(clean[:limit], ""), len(s))
}
