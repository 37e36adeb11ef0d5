package warm

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// lookEvery is how often a request that may not start looks whether it may.
	lookEvery = 10 * time.Millisecond
	// calmAfter is for how long after the last user who had to wait the loop keeps one request under
	// way at most: the server has one thread, and the next user should find no queue before it.
	calmAfter = 30 * time.Second
	// trickleEvery is how often a request starts although users wait all the time: after a sync they
	// will, just because nothing is warm yet.
	trickleEvery = 10 * time.Second
	// firstPause and longestPause are for how long nothing starts when the server is in trouble. They
	// double while that goes on.
	firstPause   = time.Second
	longestPause = time.Minute
	// maxRetryAfter bounds what a server's Retry-After can make us wait.
	maxRetryAfter = 15 * time.Minute
	// troubleAfter is how many failures in a row, of whatever requests, are the server's.
	troubleAfter = 3
	// slowFactor is how much longer than usual the middle one of the last requests must take for the
	// server to be in trouble, and minSlow the least time that can be slow.
	slowFactor = 3.0
	minSlow    = 250 * time.Millisecond
	remembered = 7 // odd: it has a middle one
	// settled is how many observations make a usual.
	settled = 5
)

// gate decides how many requests of the loop may be under way at the server: no more than max, one
// while users have had to wait lately, none while they do or while the server is in trouble.
type gate struct {
	max     int
	users   func() int
	metrics *metrics

	mu       sync.Mutex
	inFlight int
	shut     bool // the data is in motion, or not known
	begun    time.Time
	userSeen time.Time
	until    time.Time // nothing starts before
	pauses   *backoff.ExponentialBackOff
	failures int  // in a row
	careful  bool // after trouble, until an answer is as it should be
	usual    map[string]*average
	ratios   []float64 // of the last requests' times to what is usual

	busy      time.Duration // how long any was under way, and all together
	total     time.Duration
	busySince time.Time
}

// average is a moving average of times, and of how many.
type average struct {
	mean time.Duration
	n    int
}

func newGate(limit int, users func() int, m *metrics) *gate {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier, pauses.RandomizationFactor = firstPause, longestPause, 2, 0.2
	return &gate{max: limit, users: users, metrics: m, pauses: pauses, usual: map[string]*average{}, begun: time.Now()}
}

// enter waits until a request may start. leave must follow.
func (g *gate) enter(ctx context.Context) error {
	var tick *time.Ticker
	for {
		if g.try() {
			return nil
		}
		if tick == nil {
			tick = time.NewTicker(lookEvery)
			defer tick.Stop()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (g *gate) try() bool {
	waiting := g.users()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if waiting > 0 {
		g.userSeen = now
	}
	if g.inFlight >= g.limit(now, waiting) {
		return false
	}
	if g.inFlight == 0 {
		g.busySince = now
	}
	g.inFlight++
	g.begun = now
	g.metrics.inFlight.Inc()
	return true
}

// limit is how many may be under way at now.
func (g *gate) limit(now time.Time, usersWaiting int) int {
	switch {
	case g.shut, now.Before(g.until):
		return 0
	case usersWaiting > 0 && now.Sub(g.begun) >= trickleEvery:
		return 1
	case usersWaiting > 0:
		return 0
	case g.careful, !g.userSeen.IsZero() && now.Sub(g.userSeen) < calmAfter:
		return 1
	}
	return g.max
}

// leave ends a request that took as long, and tells how the server did: what is usual for it is
// compared with its own last time where that is known, else with its route's.
func (g *gate) leave(r *request, took time.Duration, how verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.metrics.inFlight.Dec()
	if how != untouched {
		g.total += took
	}
	if g.inFlight--; g.inFlight == 0 {
		g.busy += now.Sub(g.busySince)
	}
	switch how {
	case troubled:
		if g.failures++; g.failures >= troubleAfter {
			g.pause(now, g.pauses.NextBackOff())
		}
	case answered:
		g.failures = 0
		g.observe(now, r, took)
	case untouched:
	}
}

// observe compares a time with what is usual. The caller holds mu.
func (g *gate) observe(now time.Time, r *request, took time.Duration) {
	usual := g.usual[r.route]
	if usual == nil {
		usual = &average{}
		g.usual[r.route] = usual
	}
	expected := r.took
	if expected == 0 && usual.n >= settled {
		expected = usual.mean
	}
	ratio := 1.0
	if expected > 0 && took >= minSlow {
		ratio = float64(took) / float64(expected)
	}
	g.ratios = append(g.ratios, ratio)
	g.ratios = g.ratios[max(0, len(g.ratios)-remembered):]
	middle := slices.Sorted(slices.Values(g.ratios))[len(g.ratios)/2]
	switch {
	case len(g.ratios) == remembered && middle >= slowFactor:
		g.ratios = g.ratios[:0]
		g.pause(now, g.pauses.NextBackOff())
	case ratio < slowFactor:
		if g.careful {
			g.careful = false
			g.pauses.Reset()
		}
	}
	// A server in trouble must not become the usual one soon.
	usual.n++
	weight := time.Duration(min(usual.n, 10))
	if ratio >= slowFactor {
		weight = 50
	}
	usual.mean += (took - usual.mean) / weight
}

// pause lets nothing start for d, and one at a time after that. The caller holds mu.
func (g *gate) pause(now time.Time, d time.Duration) {
	g.careful, g.failures = true, 0
	if until := now.Add(d); until.After(g.until) {
		g.until = until
	}
}

// retryAfter does as the server asked.
func (g *gate) retryAfter(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pause(time.Now(), min(max(d, firstPause), maxRetryAfter))
}

// set shuts the gate while the data is in motion, and opens it again.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

// share is how much of elapsed at least one request was under way, and how much of what max allows.
func (g *gate) share(elapsed time.Duration) (busy, used float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if elapsed <= 0 {
		return 0, 0
	}
	return min(1, float64(g.busy)/float64(elapsed)), min(1, float64(g.total)/float64(elapsed)/float64(g.max))
}
