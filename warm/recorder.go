package warm

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A recorder keeps the tally of a run, and writes it to the ledger behind the requests: none waits for
// Redis.
type recorder struct {
	ledger  ledger
	token   string
	info    *runInfo
	metrics *metrics
	changed chan struct{}

	mu      sync.Mutex
	tally   tally
	pending delta

	writing sync.Mutex // one flush at a time
}

func newRecorder(l ledger, token string, info *runInfo, t tally, m *metrics) *recorder {
	return &recorder{ledger: l, token: token, info: info, metrics: m, tally: t, pending: newDelta(), changed: make(chan struct{}, 1)}
}

func newDelta() delta { return delta{total: -1, tally: newTally()} }

func (d *delta) isEmpty() bool { return d.stage == "" && d.total < 0 && len(d.ids) == 0 }

func (r *recorder) stage(name string) {
	r.change(func() { r.tally.stage, r.pending.stage = name, name })
}

func (r *recorder) total(n int) {
	r.change(func() { r.tally.total, r.pending.total = n, n })
}

// add counts a request that is done.
func (r *recorder) add(id string, how outcome, why string) {
	r.metrics.requests.WithLabelValues(string(how)).Inc()
	r.change(func() {
		r.tally.counts[how]++
		r.pending.counts[how]++
		r.pending.ids = append(r.pending.ids, id)
		if how == failed {
			r.tally.reasons[why]++
			r.pending.reasons[why]++
		}
	})
}

func (r *recorder) change(what func()) {
	r.mu.Lock()
	what()
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// run writes until ctx ends. A ledger that has gone to another ends the run.
func (r *recorder) run(ctx context.Context, cancel context.CancelCauseFunc) {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		select {
		case <-r.changed:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if err := r.flush(ctx); errors.Is(err, errFenced) {
			cancel(errFenced)
			return
		}
	}
}

// flush writes what has changed. What could not be written stays for the next time.
func (r *recorder) flush(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	d := r.pending
	r.pending = newDelta()
	r.mu.Unlock()
	if d.isEmpty() {
		return nil
	}
	try, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	err := r.ledger.record(try, r.token, d)
	if err != nil {
		r.mu.Lock()
		r.pending.unite(d)
		r.mu.Unlock()
	}
	return err
}

// unite puts an older delta under d.
func (d *delta) unite(older delta) {
	d.stage = orElse(d.stage, older.stage)
	if d.total < 0 {
		d.total = older.total
	}
	for how, n := range older.counts {
		d.counts[how] += n
	}
	for why, n := range older.reasons {
		d.reasons[why] += n
	}
	d.ids = append(older.ids, d.ids...)
}

func (r *recorder) snapshot() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally.clone()
}
