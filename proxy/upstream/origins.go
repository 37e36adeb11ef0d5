package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"warmfront/keying"
)

const (
	// originTTL is for how long an origin's CORS headers are believed (contract, trap 10: minutes).
	originTTL = 5 * time.Minute
	// originMax is for how long they serve while the server is too busy to be asked again.
	originMax = 24 * time.Hour
	// maxOrigins bounds what is remembered, of those that the server allows and of the others: the Origin header is the
	// client's to invent, and what is invented must not push out what is in use.
	maxOrigins = 1024
	// maxOrigin bounds the origins that are remembered, in bytes.
	maxOrigin = 512
	// shareAgainAfter is how old what was told other replicas of an origin may be.
	shareAgainAfter = originTTL / 2
)

// ErrBusy means that the server did not say in the moment that a hit waits.
var ErrBusy = errors.New("upstream is busy")

// Origins remembers which CORS headers the server gives each Origin, so that an answer stored for
// one origin is never sent with its headers to another. It learns them from every answer of the server's, and asks
// only for what it never saw.
type Origins struct {
	client *Client
	shared *SharedOrigins // nil: not shared
	asks   singleflight.Group
	behind *behind // asks the server
	share  *behind // tells other replicas

	allowed, others *lru.Cache[string, originHeaders]
}

type originHeaders struct {
	header  http.Header
	learned time.Time
	told    time.Time // when other replicas were
}

// NewOrigins asks through c, and shares what it learns through shared; nil for not at all.
func NewOrigins(c *Client, shared *SharedOrigins) *Origins {
	o := &Origins{client: c, shared: shared, behind: newBehind(), share: newBehind()}
	o.allowed, _ = lru.New[string, originHeaders](maxOrigins) // fails for no size only
	o.others, _ = lru.New[string, originHeaders](maxOrigins)
	return o
}

// Close ends what goes on behind answers.
func (o *Origins) Close() {
	o.behind.close()
	o.share.close()
}

// Headers gives Access-Control-* and Vary for origin ("" for a request without one), as last seen
// or asked for now. The caller must not change them. When the server can't say, the error is
// ErrStatus or wraps ErrDown; ErrBusy when it did not say in a moment and the caller is not patient.
func (o *Origins) Headers(ctx context.Context, origin string, patient bool) (http.Header, error) {
	known, ok := o.known(origin)
	if ok && time.Since(known.learned) < originTTL {
		return known.header, nil
	}
	if !ok {
		if known, ok = o.shared.get(ctx, origin); ok {
			o.remember(origin, known)
		}
	}
	ok = ok && time.Since(known.learned) < originMax
	if ok && time.Since(known.learned) < originTTL {
		return known.header, nil
	}
	if !ok && patient {
		return o.await(ctx, origin)
	}
	ended, err := o.behind.start(origin, func(ctx context.Context) error {
		_, err := o.await(ctx, origin)
		return err
	}).wait(ctx)
	switch {
	case err != nil:
		return nil, err
	case ended:
		known, ok = o.known(origin)
	}
	if !ok {
		return nil, ErrBusy
	}
	return known.header, nil
}

// await asks the server, or waits for whoever does.
func (o *Origins) await(ctx context.Context, origin string) (http.Header, error) {
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

// Remembered gives what was last seen for origin however long ago, for answers served while the
// server is down; nil when nothing was.
func (o *Origins) Remembered(origin string) http.Header {
	known, _ := o.known(origin)
	return known.header
}

func (o *Origins) known(origin string) (originHeaders, bool) {
	if known, ok := o.allowed.Get(origin); ok {
		return known, true
	}
	return o.others.Get(origin)
}

// remember keeps what is known of an origin in its place.
func (o *Origins) remember(origin string, h originHeaders) {
	if len(origin) > maxOrigin {
		return
	}
	here, there := o.others, o.allowed
	if allows(h.header) {
		here, there = there, here
	}
	here.Add(origin, h)
	there.Remove(origin)
}

func allows(h http.Header) bool { return len(h["Access-Control-Allow-Origin"]) > 0 }

// Learn takes the CORS headers from an answer that the server gave to a request which showed it this origin, and no
// other.
func (o *Origins) Learn(origin string, answer http.Header) http.Header {
	cors := http.Header{}
	for name, values := range answer {
		if IsCORS(name) {
			cors[name] = slices.Clone(values)
		}
	}
	cors["Vary"] = varyOf(answer)
	o.learn(origin, cors)
	return cors
}

// LearnPreflight takes from the answer to a preflight what the answer to the request itself will say too: it comes from
// the same middleware. What it says of methods, fields and its own age belongs to preflights.
func (o *Origins) LearnPreflight(origin string, answer http.Header) {
	cors := http.Header{"Vary": varyOf(answer)}
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"} {
		if values := answer[name]; len(values) > 0 {
			cors[name] = slices.Clone(values)
		}
	}
	// What an answer itself has said is known in full, and holds as long as the preflight says the same.
	if known, ok := o.known(origin); ok {
		same := true
		for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} {
			same = same && slices.Equal(known.header[name], cors[name])
		}
		if same {
			cors = known.header
		}
	}
	o.learn(origin, cors)
}

func (o *Origins) learn(origin string, cors http.Header) {
	known, ok := o.known(origin)
	now := originHeaders{cors, time.Now(), known.told}
	if o.shared != nil && allows(cors) && len(origin) <= maxOrigin &&
		(!ok || time.Since(known.told) > shareAgainAfter || !maps.EqualFunc(known.header, cors, slices.Equal)) {
		now.told = now.learned
		o.share.start(origin, func(ctx context.Context) error { return o.shared.put(ctx, origin, now) })
	}
	o.remember(origin, now)
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

// varyOf is the answer's Vary with Accept-Encoding, which every stored answer depends on, in it, and without what only
// preflights depend on.
func varyOf(answer http.Header) []string {
	fields := []string{}
	for _, line := range answer.Values("Vary") {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.EqualFold(name, "Accept-Encoding") && !isPreflights(name) {
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

func isPreflights(field string) bool {
	return len(field) > len("Access-Control-") && strings.EqualFold(field[:len("Access-Control-")], "Access-Control-")
}
