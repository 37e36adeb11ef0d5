package proxy

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// For how long one answer's metrics are sent again and again, and how soon those are looked at again that
// a run that was given up may still overwrite.
const (
	writebackFor   = time.Minute
	lookAgainAfter = 5 * time.Second
)

var (
	errSuperseded = errors.New("another answer came since")
	errNoMetrics  = errors.New("the stored answer shows no metrics")
)

func (w *writeback) work() {
	for {
		j := w.next()
		if j == nil {
			return
		}
		w.finish(j, w.save(j))
	}
}

// job is one answer whose metrics are being written back.
type job struct {
	bot   string
	b     *botMetrics
	entry *store.Entry
	moves uint64
	look  bool // at what the server has, first
	sent  bool // even if no answer says so, the server may have it
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
		case b.wanted == nil || b.runs > 0:
		case b.wanted.Key == b.saved:
			w.unwant(b)
		default:
			b.working = true
			return &job{bot: id, b: b, entry: b.wanted, moves: b.moves, look: b.saved == ""}
		}
	}
	w.workers--
	return nil
}

// save brings the server's saved metrics to those of the job's answer.
func (w *writeback) save(j *job) error {
	metrics, err := metricsIn(j.entry, int64(w.p.cfg.MaxEntry))
	if err != nil {
		return err
	}
	_, err = backoff.Retry(w.ctx, func() (struct{}, error) {
		err := w.try(j, metrics)
		if errors.Is(err, upstream.ErrRefused) || errors.Is(err, errSuperseded) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 10 * time.Second,
	}), backoff.WithMaxElapsedTime(w.limit))
	return err
}

func (w *writeback) try(j *job, metrics savedMetrics) error {
	if !w.isLast(j) {
		return errSuperseded
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

// isLast reports whether the job's answer is still the bot's last, and no run of it is under way.
func (w *writeback) isLast(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return j.b.wanted == j.entry && j.b.runs == 0
}

// finish notes what came of a job.
func (w *writeback) finish(j *job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := j.b
	b.working = false
	if j.sent {
		b.saved = ""
	}
	if b.wanted == j.entry && !errors.Is(err, errSuperseded) {
		w.unwant(b)
	}
	switch {
	case err == nil:
		switch now := time.Now(); {
		case b.moves != j.moves:
		case now.Before(b.unsure):
			b.seen, b.lookOut = j.entry.Key, now.Add(lookAgainAfter)
		default:
			b.saved = j.entry.Key
		}
	case errors.Is(err, errSuperseded):
	case errors.Is(err, upstream.ErrRefused), errors.Is(err, errNoMetrics):
		b.refused = j.entry.Key
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
