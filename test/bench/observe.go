package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"warmfront/test/harness"
)

// An observer stands between Warmfront and the server, and sees how busy it is kept.
type observer struct {
	*httptest.Server

	mu       sync.Mutex
	inFlight int
	since    time.Time // of the last change
	began    time.Time // of the first request since it was reset
	ended    time.Time // of the last
	busy     time.Duration
	used     time.Duration // of the concurrency
	limit    int
}

func observe(up *harness.Upstream, limit int) (*observer, error) {
	target, err := url.Parse(up.URL)
	if err != nil {
		return nil, err
	}
	o := &observer{limit: limit}
	through := httputil.NewSingleHostReverseProxy(target)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ofTheRun(r) {
			through.ServeHTTP(w, r)
			return
		}
		o.change(1)
		defer o.change(-1)
		through.ServeHTTP(w, r)
	}))
	return o, nil
}

// ofTheRun leaves out what Warmfront asks all day to know the data: it looks at candles 50 at a time, and
// at the benchmarks' date.
func ofTheRun(r *http.Request) bool {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/candles/"):
		return r.URL.Query().Get("limit") != "50"
	case r.Method == http.MethodPost:
		return !strings.HasPrefix(path, "/api/admin/") && !strings.HasPrefix(path, "/api/auth/")
	}
	return strings.HasPrefix(r.URL.Path, "/api/bots/") // revisions, before and after each computation
}

func (o *observer) change(by int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.inFlight > 0 {
		o.busy += now.Sub(o.since)
		o.used += now.Sub(o.since) * time.Duration(min(o.inFlight, o.limit)) / time.Duration(o.limit)
	}
	if o.began.IsZero() {
		o.began = now
	}
	o.inFlight += by
	o.since, o.ended = now, now
}

// reset begins to measure anew.
func (o *observer) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began, o.busy, o.used = time.Time{}, 0, 0
}

// share is how much of the time between its first and last request the server had one, and how much
// of the concurrency was made use of.
func (o *observer) share() (busy, used float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	window := o.ended.Sub(o.began)
	if window <= 0 {
		return 0, 0
	}
	return float64(o.busy) / float64(window), float64(o.used) / float64(window)
}
