package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"warmfront/proxy/lease"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// For how long one answer's metrics are sent again and again, and how soon those are looked at again that
// a run that was given up may still overwrite.
const (
	writebackFor   = time.Minute
	lookAgainAfter = 5 * time.Second
)

// maxFailures is how often the server may fail to save an answer's metrics before it counts as refusing them: to a
// bot that it doesn't know it says 500 for ever (contract, trap 23).
const maxFailures = 3

var (
	errSuperseded   = errors.New("another answer came since")
	errNoMetrics    = errors.New("the stored answer shows no metrics")
	errKnownRefused = errors.New("the server refused these metrics not long ago")
)

func (w *writeback) work() {
	for {
		j := w.next()
		if j == nil {
			return
		}
		if j.entry == nil {
			w.compareGiven(j)
			continue
		}
		err := w.save(j)
		if j.isRefused(err) {
			w.last.refuse(w.ctx, j.bot, j.entry.Key)
		}
		w.finish(j, err)
	}
}

// job is one answer whose metrics are being written back; without an answer, the question whether another
// replica's came later than the one given here.
type job struct {
	bot      string
	b        *botMetrics
	entry    *store.Entry
	moves    uint64
	known    bool // the server has its metrics
	look     bool // at what the server has, first
	sent     bool // even if no answer says so, the server may have it
	failures int
}

// isRefused reports whether what came of the job says that its metrics won't be taken.
func (j *job) isRefused(err error) bool {
	return errors.Is(err, upstream.ErrRefused) || errors.Is(err, errNoMetrics) || j.failures >= maxFailures
}

// next takes the next job; nil when there is none, and the worker must end.
func (w *writeback) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		id := w.queue[0]
		w.queue = w.queue[1:]
		b := w.bots[id]
		b.queued = false
		switch {
		case b.wanted == nil && !b.compare || b.runs > 0:
		case b.wanted != nil && b.wanted.Key == b.saved && !b.heard && !b.compare:
			w.unwant(b)
		default:
			b.working, b.compare = true, false
			return &job{bot: id, b: b, entry: b.wanted}
		}
	}
	w.workers--
	return nil
}

// save brings the server's saved metrics to those of the job's answer.
func (w *writeback) save(j *job) error {
	metrics, err := metricsIn(j.entry, int64(w.p.cfg.MaxEntry))
	if err == nil {
		err = w.announce(j)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, w.limit)
	defer cancel()
	// Another replica may be at it, for the same answer even. Where Redis doesn't say, both look first.
	switch held, err := w.leases.Acquire(ctx, "saving:"+j.bot); {
	case err == nil:
		defer held.Release("")
	case !errors.Is(err, lease.ErrUnknown):
		return fmt.Errorf("waiting for another replica to save the bot's metrics: %w", err)
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := w.try(j, metrics)
		if errors.Is(err, upstream.ErrFailed) {
			j.failures++
		}
		if j.isRefused(err) || errors.Is(err, errSuperseded) || errors.Is(err, errKnownRefused) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 10 * time.Second,
	}), backoff.WithMaxElapsedTime(w.limit))
	return err
}

func (w *writeback) try(j *job, metrics savedMetrics) error {
	if err := w.announce(j); err != nil {
		return err
	}
	if !w.start(j) {
		return errSuperseded
	}
	if j.known {
		return nil
	}
	if j.look {
		shown, err := w.client.SavedMetrics(w.ctx, j.bot, w.p.ownCredentials(w.ctx))
		if err != nil {
			return err
		}
		if metrics.shownIn(shown) {
			return nil
		}
		if !w.isLast(j) {
			return errSuperseded
		}
	}
	j.sent = true
	ended := w.p.beginWrite(j.bot)
	err := w.client.SaveMetrics(w.ctx, j.bot, w.p.ownCredentials(w.ctx), metrics.object())
	ended(err == nil || errors.Is(err, upstream.ErrStatus))
	return err
}

// start is isLast for a try that begins now: what is known of the saved metrics is known as of now.
func (w *writeback) start(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	saved := j.b.saved
	j.moves, j.known, j.look = j.b.moves, saved == j.entry.Key && w.current(), saved == "" || j.sent || !w.current()
	return w.isLastLocked(j)
}

// isLast reports whether the job's answer is still the bot's last here, and no run of it is under way.
func (w *writeback) isLast(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isLastLocked(j)
}

func (w *writeback) isLastLocked(j *job) bool { return j.b.wanted == j.entry && j.b.runs == 0 }

// finish notes what came of a job.
func (w *writeback) finish(j *job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := j.b
	b.working = false
	if j.sent {
		b.saved = ""
	}
	moved := err == nil && b.moves != j.moves
	if b.wanted == j.entry && !errors.Is(err, errSuperseded) && !moved {
		w.unwant(b)
	}
	switch {
	case moved: // by another replica, perhaps after us: if the answer is still wanted, it is looked at again
		b.heard = true
	case err == nil:
		switch now := time.Now(); {
		case now.Before(b.unsure) || !w.current():
			b.seen, b.lookOut = j.entry.Key, now.Add(lookAgainAfter)
		default:
			b.saved = j.entry.Key
		}
	case errors.Is(err, errSuperseded):
	case errors.Is(err, errKnownRefused):
		b.refused, b.refusedUntil = j.entry.Key, time.Now().Add(refusedFor)
	case j.isRefused(err):
		b.refused, b.refusedUntil = j.entry.Key, time.Now().Add(refusedFor)
		w.drop(j, "refused", err)
	case w.ctx.Err() != nil:
		w.drop(j, "closing", err)
	default:
		w.drop(j, "unreachable", err)
	}
	w.schedule(j.bot, b)
}

func (w *writeback) drop(j *job, reason string, err error) {
	w.dropped.WithLabelValues(reason).Inc()
	w.p.log.Warn("a bot's saved metrics are not those of the answer it was given last", zap.String("key", j.entry.Key),
		zap.String("reason", reason), zap.Error(err))
}
