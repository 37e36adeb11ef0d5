package lease

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Watch hears of the end of a lease. It is made before the lease is asked for, so that no end comes in between.
type Watch struct {
	of    *Leases
	name  string
	notes chan string
	poll  time.Duration
}

// Watch watches the lease until Stop.
func (l *Leases) Watch(name string) *Watch {
	w := &Watch{of: l, name: name, notes: make(chan string, 1), poll: firstPoll}
	if l == nil {
		return w
	}
	l.waiting.Lock()
	defer l.waiting.Unlock()
	all := l.waiting.byName[name]
	if all == nil {
		all = map[*Watch]bool{}
		l.waiting.byName[name] = all
	}
	all[w] = true
	return w
}

// Stop ends the watching.
func (w *Watch) Stop() {
	if w.of == nil {
		return
	}
	w.of.waiting.Lock()
	defer w.of.waiting.Unlock()
	all := w.of.waiting.byName[w.name]
	if delete(all, w); len(all) == 0 {
		delete(w.of.waiting.byName, w.name)
	}
}

// Wait gives the note that a lease ended with, or "" after a while, which grows from call to call, in which none was
// heard of: its holder may have died, or the notice may have got lost. The error is ctx's.
func (w *Watch) Wait(ctx context.Context) (note string, err error) {
	timer := time.NewTimer(w.poll + rand.N(w.poll/4))
	defer timer.Stop()
	w.poll = min(w.poll*3/2, lastPoll)
	select {
	case note = <-w.notes:
		return note, nil
	case <-timer.C:
		return "", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// tell has those who wait for a lease hear of its end. Of several ends the last counts.
func (l *Leases) tell(name, note string) {
	l.waiting.Lock()
	defer l.waiting.Unlock()
	for w := range l.waiting.byName[name] {
		select {
		case <-w.notes:
		default:
		}
		w.notes <- note // there is room: only tell, which holds the lock, puts anything there
	}
}
