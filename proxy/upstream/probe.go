package upstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/proxy/board"
)

// strangersInterval bounds how often it is asked whether strangers are still refused, when users are not.
const strangersInterval = 10 * time.Second

// strangersAddress is nobody's (RFC 5737): a server that lets only some addresses in refuses it.
const strangersAddress = "192.0.2.1"

var (
	// stranger is who Warmfront's probes come from, itself who its other requests do.
	stranger = Who{ID: "stranger", Anonymous: true}
	itself   = Who{ID: "warmfront", Anonymous: true}
)

// probes are the cheap requests that show whether a route answers everyone. Where there is none, because each costs a
// computation or saves a bot's metrics (contract, trap 7), only users' own requests show it.
type probes struct {
	requests map[string]probe // by route
	wanted   chan string
	asked    map[string]time.Time // when a route was probed last; Access.mu guards it
	inUse    map[string]bool      // routes that were public for somebody since the last round; the same
}

type probe struct{ method, path, body string }

func newProbes(canary string) *probes {
	quoted, _ := json.Marshal(canary) // a text
	position := fmt.Sprintf(`{"id":"p","kind":"position","positions":[%s]}`, quoted)
	payload, _ := json.Marshal(position)
	return &probes{
		requests: map[string]probe{
			"candles":       {http.MethodGet, "/api/candles/" + url.PathEscape(canary) + "?limit=50", ""},
			"benchmarks":    {http.MethodGet, "/api/benchmarks/metrics?tickers=" + url.QueryEscape(canary), ""},
			"candles-batch": {http.MethodPost, "/api/candles/batch", fmt.Sprintf(`{"tickers":[%s],"limit":50}`, quoted)},
			"backtest":      {http.MethodPost, "/api/backtest", fmt.Sprintf(`{"payload":%s,"benchmarkTicker":%s}`, payload, quoted)},
			"sanity":        {http.MethodPost, "/api/sanity-report", fmt.Sprintf(`{"payload":%s,"benchmarkTicker":%s,"years":1,"shards":1}`, payload, quoted)},
			"indicator-series": {http.MethodPost, "/api/indicator-series", fmt.Sprintf(
				`{"conditions":[{"id":"c","ticker":%s,"metric":"Simple Moving Average","window":2,"comparator":"gt","threshold":0}],"payload":%s}`, quoted, position)},
		},
		wanted: make(chan string, 16), asked: map[string]time.Time{}, inUse: map[string]bool{},
	}
}

// Want has the route probed soon, if there is a probe and it was not probed lately: somebody asks there whose success
// shows nothing.
func (a *Access) Want(route string) {
	if _, ok := a.probes.requests[route]; !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.want(route, accessInterval)
}

// want has the route probed soon, unless it was within the interval. The caller holds mu.
func (a *Access) want(route string, interval time.Duration) {
	if time.Since(a.probes.asked[route]) < interval {
		return
	}
	select {
	case a.probes.wanted <- route:
		a.probes.asked[route] = time.Now()
	default:
	}
}

// Run probes at the start, what is in use every five minutes, and what is wanted meanwhile: one after the other, for the
// server computes in one thread. It returns when ctx ends.
func (a *Access) Run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case route := <-a.probes.wanted:
			if route == everywhere {
				a.Probe(ctx)
			} else {
				a.probe(ctx, route)
			}
		case <-next.C:
			if !a.Probe(ctx) {
				next.Reset(time.Second)
				continue
			}
			for _, route := range a.takeInUse() {
				a.probe(ctx, route)
			}
			next.Reset(accessInterval)
		}
	}
}

// takeInUse gives the routes that were served as public since the last round.
func (a *Access) takeInUse() (routes []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for route := range a.probes.inUse {
		if _, ok := a.probes.requests[route]; ok && route != "candles" {
			routes = append(routes, route)
		}
	}
	clear(a.probes.inUse)
	return routes
}

// Probe asks for the canary's candles, as an address that is nobody's, and about a bot that can't exist. It reports
// whether there was an answer. One that was given before the question was looked at, such as a rate limiter's or a
// redirection, tells nothing.
func (a *Access) Probe(ctx context.Context) bool {
	res, _, err := a.client.get(ctx, "/api/bots/warmfront-probe-"+rand.Text(), http.Header{"X-Forwarded-For": {strangersAddress}})
	if err != nil || !isTelling(res.StatusCode) {
		return false
	}
	if isRefusal(res.StatusCode) {
		a.Refused(ctx, everywhere, stranger)
	}
	status := a.probe(ctx, "candles")
	switch {
	case isRefusal(status):
		a.Refused(ctx, everywhere, stranger)
	case status == http.StatusOK && !isRefusal(res.StatusCode):
		a.welcomeStrangers()
	}
	if isTelling(status) && !a.known.Swap(true) {
		a.log.Info("access", zap.Bool("credentialsAsked", a.Asks()), zap.Int("candlesStatus", status))
	}
	return isTelling(status)
}

func (a *Access) welcomeStrangers() {
	a.mu.Lock()
	news := a.stance(everywhere).forgive(stranger)
	a.mu.Unlock()
	if news {
		a.board.Post(callerNotice(everywhere, stranger, letIn))
	}
}

func isTelling(status int) bool {
	return status != 0 && status < http.StatusInternalServerError && status != http.StatusTooManyRequests && status/100 != 3
}

func isRefusal(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// probe asks a route what a stranger may have; 0 for no answer. What follows from it is seen to by asking.
func (a *Access) probe(ctx context.Context, route string) (status int) {
	q := a.probes.requests[route]
	res, _, err := a.client.send(ctx, q.method, q.path, http.Header{"X-Forwarded-For": {strangersAddress}}, []byte(q.body))
	if err != nil {
		return 0
	}
	return res.StatusCode
}

// asking takes in what the answer to one of Warmfront's own requests shows of an intercepted route.
func (a *Access) asking(req *http.Request, body []byte) func(context.Context, int, []byte) {
	route, param, ok := keying.Match(req.Method, req.URL.EscapedPath())
	if !ok {
		return func(context.Context, int, []byte) {}
	}
	w := itself
	if req.Header.Get("X-Forwarded-For") == strangersAddress {
		w = stranger
	}
	w.Anonymous = req.Header.Get("Authorization") == ""
	began := a.board.Stamp(route.Name)
	return func(ctx context.Context, status int, answer []byte) {
		switch {
		case isRefusal(status):
			a.Refused(ctx, route.Name, w)
		case status == http.StatusOK:
			a.judge(route, param, req.URL.RawQuery, body, answer, w, began)
		}
	}
}

func (a *Access) judge(route *keying.Route, param, query string, body, answer []byte, w Who, began board.Stamp) {
	q, err := route.Parse(param, query, body, keying.ByOrder)
	if err != nil {
		return
	}
	if _, err := q.Judge(answer); err == nil {
		a.Succeeded(PlaceOf(route, q.Bots), w, began)
	}
}
