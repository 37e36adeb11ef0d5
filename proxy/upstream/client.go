// Package upstream is what Warmfront asks the server on its own account: the data date, the
// revisions of saved bots, the CORS headers of an origin, and whether it protects its answers. It
// remembers what it was told, and for how long that may be believed.
package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxOwnAnswer bounds what is read of an answer to one of Warmfront's own requests, in bytes: a
// saved strategy is at most 50 MB, the server's own body limit, and a list of bots holds several.
const maxOwnAnswer = 256 << 20

// ErrDown means that the server could not be reached at all: refused, reset, or no such host.
var ErrDown = errors.New("upstream is unreachable")

// ErrStatus means that the server answered, but not with what was asked for.
var ErrStatus = errors.New("upstream gave an unexpected answer")

// Client makes Warmfront's own requests. None of them has side effects that a browser's would not
// have, and none carries a user's credentials.
type Client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	// asking is told of each request before it is sent, and may give what is to be told of its answer; nil for nobody.
	asking func(req *http.Request, body []byte) (answered func(ctx context.Context, status int, body []byte))
}

// NewClient asks the server at base through transport; a request may take timeout in all.
func NewClient(base *url.URL, transport http.RoundTripper, timeout time.Duration) *Client {
	return &Client{
		base:    base,
		http:    &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		timeout: timeout,
	}
}

// Ask makes one request and gives the answer of whatever status. The error wraps ErrDown when there was none
// because the server can't be reached.
func (c *Client) Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	res, answer, err := c.send(ctx, method, path, nil, body)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, answer, nil
}

// get asks for path (escaped, with its query) and gives the whole answer of whatever status. The
// error wraps ErrDown when there was none because the server can't be reached.
func (c *Client) get(ctx context.Context, path string, header http.Header) (*http.Response, []byte, error) {
	return c.send(ctx, http.MethodGet, path, header, nil)
}

// send is get for any method, with a JSON body if there is one.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base.Scheme+"://"+c.base.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("asking the upstream for %s: %w", path, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "warmfront")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	answered := func(context.Context, int, []byte) {}
	if c.asking != nil {
		answered = c.asking(req, body)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrDown, err)
		}
		return nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxOwnAnswer+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the upstream's answer to %s: %w", path, err)
	}
	if len(b) > maxOwnAnswer {
		return nil, nil, fmt.Errorf("%w: more than %d bytes for %s", ErrStatus, maxOwnAnswer, path)
	}
	answered(ctx, res.StatusCode, b)
	return res, b, nil
}
