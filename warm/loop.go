package warm

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// How a run ends.
const (
	endFinished = "finished"
	endStopped  = "stopped" // by hand
	endMoved    = "moved"   // the data did; it begins again
	endLost     = "lost"    // the lease, or the process ends; another replica goes on
)

var (
	errStopped = errors.New("warm: stopped by hand")
	errMoved   = errors.New("warm: the data moved")
)

// ledgerPatience bounds a look at the ledger.
const ledgerPatience = 2 * time.Second

// watch looks for a reason to run, and runs.
func (l *Loop) watch(ctx context.Context) {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		l.step(ctx)
		select {
		case <-tick.C:
		case <-l.poke:
		case <-ctx.Done():
		}
	}
}

func (l *Loop) step(ctx context.Context) {
	t, settled := l.target()
	v, err := l.look(ctx, t)
	if err != nil {
		return
	}
	reason := l.reason(t, settled, v)
	if reason == "" {
		l.first(ctx, t, settled, v)
		return
	}
	token, err := l.ledger.acquire(ctx)
	if err != nil && !l.refused && ctx.Err() == nil {
		l.log.Warn("the warm loop can't take its lease in Redis", zap.Error(err))
	}
	if l.refused = err != nil; l.refused || token == "" {
		return // not now, or another replica was faster
	}
	l.hold(ctx, token, reason)
}

// first notes what the loop finds when it runs for the very first time, or for the first time in a process
// that has no Redis: it warms when that has changed, not before.
func (l *Loop) first(ctx context.Context, t target, settled bool, v view) {
	if !settled || !v.fresh || t.date == "" || v.run != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	if err := l.ledger.found(ctx, t.key()); err != nil {
		l.log.Debug("not noted", zap.Error(err)) // the next step tries again
	}
}

// look reads the ledger, and says once when it can't be read.
func (l *Loop) look(ctx context.Context, t target) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	v, err := l.ledger.look(ctx, t.key())
	if err != nil {
		if !l.down && !errors.Is(err, context.Canceled) {
			l.log.Warn("the warm loop waits for Redis", zap.Error(err))
		}
		l.down = true
		return v, err
	}
	l.down = false
	l.seen.Store(&v)
	return v, nil
}

// reason says why to run now; "" when there is none.
func (l *Loop) reason(t target, settled bool, v view) string {
	switch {
	case t.date == "":
		return "" // nothing is known of the data yet: a run that was under way may be for it
	case v.run != nil && !v.held:
		return "the replica that ran it has gone"
	case v.run != nil:
		return ""
	case v.wanted:
		return "by hand"
	case !settled:
		return ""
	case v.fresh:
		return ""
	case !v.warmed && v.last == nil:
		return "the data moved to " + t.date
	case !v.warmed && v.last.Date != t.date:
		return "the data moved from " + v.last.Date + " to " + t.date
	case !v.warmed:
		return "the data or EPOCH changed"
	case l.follow.isDue(t, time.Now()):
		return "some answers were provisional or failed"
	}
	return ""
}

// hold runs with the lease in hand, which it renews meanwhile and gives back.
func (l *Loop) hold(ctx context.Context, token, reason string) {
	held, cancel := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { l.renew(held, cancel, token) })
	err := l.runs(held, token, reason)
	cancel(nil)
	beside.Wait()
	l.current.Store(nil)
	switch {
	case err == nil || errors.Is(err, errStopped):
	case ctx.Err() != nil:
		l.metrics.runs.WithLabelValues(endLost).Inc()
		l.log.Info("warm run left to another replica, or to the next start")
	default:
		l.metrics.runs.WithLabelValues(endLost).Inc()
		l.log.Warn("warm run lost", zap.Error(err))
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), ledgerPatience)
	defer cancelLast()
	if err := l.ledger.release(last, token); err != nil && !errors.Is(err, errFenced) {
		l.log.Debug("the lease runs out by itself", zap.Error(err))
	}
	_, _ = l.look(last, target{}) // what readyz shows
}

// renew keeps the lease until ctx ends. It ends the run when the lease is another's, before it would be
// because it could not be renewed, and when somebody wants the run to end.
func (l *Loop) renew(ctx context.Context, cancel context.CancelCauseFunc, token string) {
	tick := time.NewTicker(l.beat)
	defer tick.Stop()
	over := time.Now().Add(beats * l.beat)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		asked := time.Now()
		try, done := context.WithDeadline(ctx, over)
		halted, err := l.ledger.renew(try, token)
		done()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && halted:
			cancel(errStopped)
			return
		case err == nil:
			over = asked.Add(beats * l.beat)
		case errors.Is(err, errFenced), !time.Now().Add(l.beat).Before(over):
			cancel(errFenced) // it is, or would be before the next try
			return
		}
	}
}

// runs is a run from its beginning to its end, however often the data moves meanwhile.
func (l *Loop) runs(ctx context.Context, token, reason string) error {
	began := time.Now()
	for restarts := 0; ; restarts++ {
		t, _ := l.target()
		info := &runInfo{
			ID: rand.Text(), Reason: reason, For: t.key(), Date: t.date, Generation: t.generation, StartedAt: began.UTC(), Restarts: restarts,
		}
		err := l.runFor(ctx, token, t, info)
		if !errors.Is(err, errMoved) {
			return err
		}
		l.metrics.runs.WithLabelValues(endMoved).Inc()
		l.log.Info("the data moved; the warm run begins again when it has settled")
		restarts = info.Restarts
	}
}

// runFor is one go at it, for one state of the data.
func (l *Loop) runFor(ctx context.Context, token string, t target, info *runInfo) error {
	done, tally, err := l.ledger.begin(ctx, token, info)
	if err != nil {
		return err
	}
	p := l.newPass(token, info, tally, done)
	l.current.Store(p.rec)
	going, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var beside sync.WaitGroup
	beside.Go(func() { l.follows(going, cancel, p, t) })
	beside.Go(func() { p.rec.run(going, cancel) })
	err = p.run(going)
	if cause := context.Cause(going); cause != nil {
		err = cause
	}
	cancel(nil)
	beside.Wait()
	if err == nil || errors.Is(err, errStopped) {
		return l.finish(ctx, token, p, t, err)
	}
	return err
}

// follows watches the data while a run goes on: it pauses while the data is in motion, and ends when
// it has moved.
func (l *Loop) follows(ctx context.Context, cancel context.CancelCauseFunc, p *pass, t target) {
	tick := time.NewTicker(min(l.every, 200*time.Millisecond))
	defer tick.Stop()
	for {
		now, settled := l.target()
		if now.key() != t.key() && now.date != "" {
			cancel(errMoved)
			return
		}
		p.setSettled(settled)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// finish writes the report of a run that came to its end, or was stopped.
func (l *Loop) finish(ctx context.Context, token string, p *pass, t target, err error) error {
	r := p.report(endFinished)
	if err != nil {
		r.End = endStopped
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerPatience)
	defer cancel()
	p.rec.flush(last)
	if err := l.ledger.finish(last, token, r, t.key()); err != nil {
		return err
	}
	l.follow.after(t, r, p.troubled())
	l.metrics.runs.WithLabelValues(r.End).Inc()
	l.log.Info("warm run "+r.End, zap.Int("done", r.Done), zap.Int("total", r.Total), zap.Int("warmed", r.Warmed), zap.Int("skipped", r.Skipped),
		zap.Int("provisional", r.Provisional), zap.Int("gone", r.Gone), zap.Int("failed", r.Failed), zap.Any("failures", r.Failures),
		zap.Float64("seconds", r.Seconds), zap.Float64("busy", r.Busy))
	return err
}

// followUp remembers to come back for answers that were provisional, or failed because the server did.
type followUp struct {
	mu     sync.Mutex
	target target
	at     time.Time // zero: there is nothing to come back for
	times  int
}

const (
	// followAfter is how soon: an answer that ends before the data does is kept for ten minutes. It
	// doubles from time to time, and ends after maxFollow: a server that needs a restart to see new
	// prices will be asked for all of them again, each time.
	followAfter = 10 * time.Minute
	maxFollow   = 3
)

func (f *followUp) isDue(t target, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.at.IsZero() && f.target == t && !now.Before(f.at)
}

// after decides at the end of a run.
func (f *followUp) after(t target, r *Report, troubled int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.target != t {
		f.target, f.times = t, 0
	}
	f.at = time.Time{}
	if r.End == endFinished && r.Provisional+troubled > 0 && f.times < maxFollow {
		f.at = time.Now().Add(followAfter << f.times)
		f.times++
	}
}
