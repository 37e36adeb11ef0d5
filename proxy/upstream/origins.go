package upstream

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"warmfront/keying"
)

const (
	// originTTL is for how long an origin's CORS headers are believed (contract, trap 10: minutes).
	originTTL = 5 * time.Minute
	// originGrace is for how much longer they serve while the server is being asked again: it may be computing,
	// and a hit need not wait for that.
	originGrace = originTTL
	// askOriginEvery bounds how often that is tried.
	askOriginEvery = time.Second
	// maxOrigins bounds what is remembered: the Origin header is the client's to invent.
	maxOrigins = 1024
)

// Origins remembers which CORS headers the server gives each Origin, so that an answer stored for
// one origin is never sent with its headers to another.
type Origins struct {
	client *Client
	asks   singleflight.Group

	mu    sync.RWMutex
	known map[string]originHeaders
}

type originHeaders struct {
	header http.Header
	until  time.Time
	asked  *atomic.Int64 // Unix nanoseconds of the last try to ask again
}

// NewOrigins asks through c.
func NewOrigins(c *Client) *Origins { return &Origins{client: c, known: map[string]originHeaders{}} }

// Headers gives Access-Control-* and Vary for origin ("" for a request without one), as last seen
// or asked for now. The caller must not change them. When the server can't say, the error is
// ErrStatus or wraps ErrDown.
func (o *Origins) Headers(ctx context.Context, origin string) (http.Header, error) {
	o.mu.RLock()
	known, ok := o.known[origin]
	o.mu.RUnlock()
	if ok && time.Now().Before(known.until) {
		return known.header, nil
	}
	if ok && time.Now().Before(known.until.Add(originGrace)) {
		o.refresh(ctx, origin, known)
		return known.header, nil
	}
	ch := o.asks.DoChan(origin, func() (any, error) { return o.ask(context.WithoutCancel(ctx), origin) })
	select {
	case res := <-ch:
		if res.Err != nil {
			return nil, res.Err
		}
		return res.Val.(http.Header), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refresh asks behind the answer that is being given.
func (o *Origins) refresh(ctx context.Context, origin string, known originHeaders) {
	last, now := known.asked.Load(), time.Now().UnixNano()
	if now-last < int64(askOriginEvery) || !known.asked.CompareAndSwap(last, now) {
		return
	}
	o.asks.DoChan(origin, func() (any, error) { return o.ask(context.WithoutCancel(ctx), origin) })
}

// Remembered gives what was last seen for origin however long ago, for answers served while the
// server is down; nil when nothing was.
func (o *Origins) Remembered(origin string) http.Header {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.known[origin].header
}

// Learn takes the CORS headers from an answer that the server gave to origin.
func (o *Origins) Learn(origin string, answer http.Header) http.Header {
	cors := http.Header{}
	for name, values := range answer {
		if IsCORS(name) {
			cors[name] = values
		}
	}
	cors["Vary"] = varyOf(answer)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxOrigins {
		clear(o.known)
	}
	o.known[origin] = originHeaders{cors, time.Now().Add(originTTL), new(atomic.Int64)}
	return cors
}

// IsCORS reports whether the field depends on the asking Origin; name is in canonical form.
func IsCORS(name string) bool { return strings.HasPrefix(name, "Access-Control-") }

func (o *Origins) ask(ctx context.Context, origin string) (http.Header, error) {
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	res, _, err := o.client.get(ctx, "/api/status", header)
	if err != nil {
		return nil, err
	}
	// A server that refuses the origin may do so with an error: then it must answer for itself.
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: status %d on /api/status for this Origin", ErrStatus, res.StatusCode)
	}
	return o.Learn(origin, res.Header), nil
}

// varyOf is the answer's Vary with Accept-Encoding, which every stored answer depends on, in it.
func varyOf(answer http.Header) []string {
	fields := []string{}
	for _, line := range answer.Values("Vary") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.EqualFold(name, "Accept-Encoding") {
				fields = append(fields, name)
			}
		}
	}
	return []string{strings.Join(append(fields, "Accept-Encoding"), ", ")}
}

// ownerOf gives the owner that the server names in its answer about a bot; "" if none.
func ownerOf(body []byte) string {
	var a struct {
		Bot struct {
			OwnerID string `json:"ownerId"`
		} `json:"bot"`
		OwnerID string `json:"ownerId"`
	}
	if keying.ReadJSON(body, &a) != nil {
		return ""
	}
	if a.Bot.OwnerID != "" {
		return a.Bot.OwnerID
	}
	return a.OwnerID
}
