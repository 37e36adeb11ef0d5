package warm

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// errFenced means that another replica has the lease now: whatever this one still holds to be its run
// is not.
var errFenced = errors.New("warm: another replica has taken the run over")

// A runInfo says which run it is, and why and for what data it was begun.
type runInfo struct {
	ID         string    `json:"id"`
	Reason     string    `json:"reason"`
	For        string    `json:"for"` // see target.key
	Date       string    `json:"date"`
	Generation string    `json:"generation"`
	StartedAt  time.Time `json:"startedAt"`
	Restarts   int       `json:"restarts"`
}

// A tally is how far a run is.
type tally struct {
	stage   string
	total   int
	counts  map[outcome]int
	reasons map[string]int // of failures
}

func newTally() tally { return tally{counts: map[outcome]int{}, reasons: map[string]int{}} }

func (t tally) clone() tally {
	t.counts, t.reasons = maps.Clone(t.counts), maps.Clone(t.reasons)
	return t
}

func (t tally) done() (n int) {
	for _, c := range t.counts {
		n += c
	}
	return n
}

// A view is what any replica can see of the warm loop.
type view struct {
	run    *runInfo // nil when none is under way
	tally  tally
	held   bool // somebody has the lease
	wanted bool // started by hand, and not begun yet
	warmed bool // the data asked about has been warmed for, or was found at the very start
	fresh  bool // nothing was ever warmed or found
	last   *Report
}

// A delta is what to add to the record of a run.
type delta struct {
	stage string // "" is as before
	total int    // -1 is as before
	tally
	ids []string // requests that are done
}

// A ledger is what replicas share of the loop: who runs it, how far the run is, and what people want.
// Calls that take a token fail with errFenced unless the lease is the token's.
type ledger interface {
	leases
	// look shows everything at a glance; what tells whether data has been warmed for.
	look(ctx context.Context, what string) (view, error)
	// found notes the data that is there when the loop runs for the very first time: what is asked for
	// then is as new as it.
	found(ctx context.Context, what string) error
	// want asks for a run, halt for its end.
	want(ctx context.Context) error
	halt(ctx context.Context) error

	// begin makes run the one under way, unless one for the same data is: then run becomes that one,
	// and done are the requests that it need not ask again.
	begin(ctx context.Context, token string, run *runInfo) (done map[string]bool, t tally, err error)
	record(ctx context.Context, token string, d delta) error
	// finish ends the run; warmed is what has been warmed for now, "" for nothing.
	finish(ctx context.Context, token string, r *Report, warmed string) error
}

// leases make one replica the one that warms.
type leases interface {
	// acquire gives a token, "" when another replica has the lease. A later token is a larger one.
	acquire(ctx context.Context) (token string, err error)
	// renew prolongs the lease, and tells whether somebody wants the run to end.
	renew(ctx context.Context, token string) (halted bool, err error)
	release(ctx context.Context, token string) error
}

// memoryLedger is the ledger of a single process. It can't fail.
type memoryLedger struct {
	mu     sync.Mutex
	v      view
	halted bool
	warmed recent
}

// recent remembers the last few of what was put in: a replica that lags behind sees an older state of
// the data for a while, and must not warm for it again.
type recent []string

const maxRecent = 32

func (r *recent) add(what string) {
	*r = append(*r, what)
	*r = (*r)[max(0, len(*r)-maxRecent):]
}

func (r recent) has(what string) bool {
	for _, one := range r {
		if one == what {
			return true
		}
	}
	return false
}

func newMemoryLedger() *memoryLedger { return &memoryLedger{v: view{tally: newTally()}} }

func (l *memoryLedger) acquire(context.Context) (string, error)     { return "1", nil }
func (l *memoryLedger) release(context.Context, string) error       { return nil }
func (l *memoryLedger) renew(context.Context, string) (bool, error) { return l.isHalted(), nil }
func (l *memoryLedger) isHalted() bool                              { l.mu.Lock(); defer l.mu.Unlock(); return l.halted }

func (l *memoryLedger) look(_ context.Context, what string) (view, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.v
	v.tally = v.tally.clone()
	v.held, v.warmed, v.fresh = v.run != nil, l.warmed.has(what), len(l.warmed) == 0 && l.v.last == nil
	return v, nil
}

func (l *memoryLedger) found(_ context.Context, what string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warmed.add(what)
	return nil
}

func (l *memoryLedger) want(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.v.wanted = l.v.run == nil
	return nil
}

func (l *memoryLedger) halt(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.v.wanted = false
	l.halted = l.v.run != nil
	return nil
}

func (l *memoryLedger) begin(_ context.Context, _ string, run *runInfo) (map[string]bool, tally, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v.run == nil {
		l.halted = false
	}
	l.v.run, l.v.tally, l.v.wanted = run, newTally(), false
	return map[string]bool{}, newTally(), nil
}

func (l *memoryLedger) record(_ context.Context, _ string, d delta) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.stage != "" {
		l.v.tally.stage = d.stage
	}
	if d.total >= 0 {
		l.v.tally.total = d.total
	}
	for o, n := range d.counts {
		l.v.tally.counts[o] += n
	}
	for reason, n := range d.reasons {
		l.v.tally.reasons[reason] += n
	}
	return nil
}

func (l *memoryLedger) finish(_ context.Context, _ string, r *Report, warmed string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.v.run, l.v.tally, l.v.last, l.halted = nil, newTally(), r, false
	if warmed != "" {
		l.warmed.add(warmed)
	}
	return nil
}
