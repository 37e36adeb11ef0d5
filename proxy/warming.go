package proxy

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warmfront/keying"
)

// hooks are what the warm loop, which this package doesn't know, has to do with requests. They are set
// before the first request.
type hooks struct {
	answered  func(Answered)
	warm      http.Handler // the admin endpoint
	warmState func() any   // what readyz says of it
}

// Answered tells of an intercepted request that was answered with success. Whoever is told changes
// nothing of it.
type Answered struct {
	Request  *keying.Request
	Method   string
	Target   string        // path and query, as written
	Body     []byte        // as received
	Upstream time.Duration // spent waiting for the server; 0 for a hit
}

// OnAnswered has f told of every user's intercepted request that was answered with success. It is
// called on the request's way and must not block.
func (p *Proxy) OnAnswered(f func(Answered)) { p.hooks.answered = f }

// ServeWarm has h answer the admin endpoint warm, and state say what readyz shows of it.
func (p *Proxy) ServeWarm(h http.Handler, state func() any) {
	p.hooks.warm, p.hooks.warmState = h, state
}

// Registry is where others register what /_warmfront/metrics shows.
func (p *Proxy) Registry() prometheus.Registerer { return p.metrics.registry }

type warmingKey struct{}

// ForWarming marks a request as the warm loop's own: it takes the way of a user's, but is neither
// counted as one nor noted, and nobody is held up for it.
func ForWarming(ctx context.Context) context.Context {
	return context.WithValue(ctx, warmingKey{}, true)
}

func isWarming(ctx context.Context) bool { return ctx.Value(warmingKey{}) != nil }

// note tells the hook of an answered request, unless its target would tell somebody's credentials.
func (p *Proxy) note(a *ask, how outcome, status int) {
	if p.hooks.answered == nil || a.request == nil || len(a.caller.query) > 0 || status != http.StatusOK && status != http.StatusNotModified {
		return
	}
	took := a.waited
	switch how {
	case hit:
		took = 0
	case miss, refreshed:
	default:
		return
	}
	target := a.in.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = a.in.URL.RequestURI() // in absolute form (RFC 9112, section 3.2.2)
	}
	p.hooks.answered(Answered{Request: a.request, Method: a.in.Method, Target: target, Body: a.body, Upstream: took})
}

// waits counts a user's request that waits for the server until the returned function is called.
func (p *Proxy) waits(ctx context.Context) func() {
	if isWarming(ctx) {
		return func() {}
	}
	p.usersWaiting.Add(1)
	return func() { p.usersWaiting.Add(-1) }
}

// UsersWaiting is how many requests of users wait for the server now.
func (p *Proxy) UsersWaiting() int { return int(p.usersWaiting.Load()) }

// Data is the state of the price data: the newest candle's date, the generation, and whether a sync
// is or may be under way. ok is false while that is not known for sure.
func (p *Proxy) Data() (date, generation string, provisional, ok bool) {
	state, sure := p.data.Current()
	if state == nil {
		return "", "", false, false
	}
	return state.Date, state.Generation(), state.Provisional, sure
}

// Ask makes a request of Warmfront's own, with the admin credentials if there are any.
func (p *Proxy) Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	if p.admin.Configured() {
		return p.admin.Ask(ctx, method, path, body)
	}
	return p.client.Ask(ctx, method, path, body)
}

// Credentials are what a request of Warmfront's own needs where answers belong to somebody; nil elsewhere.
func (p *Proxy) Credentials(ctx context.Context) http.Header { return p.ownCredentials(ctx) }
