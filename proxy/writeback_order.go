package proxy

import (
	"crypto/rand"
	"time"
)

// maxNews is how late another replica's word that it gave an answer may come.
const maxNews = 10 * time.Second

// answered has the other replicas know that an answer of the variant was given now; "" for one that isn't known.
func (w *writeback) answered(bot, variant string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answeredLocked(bot, variant)
}

// answeredLocked is answered for a caller that holds mu.
func (w *writeback) answeredLocked(bot, variant string) {
	if w.closed || w.last == nil {
		return
	}
	if variant == "" {
		variant = "? " + rand.Text()
	}
	at := time.Now()
	w.running.Go(func() {
		if standing, _ := w.last.put(w.ctx, bot, variant, at); standing != isLastAnswer {
			w.tell(bot) // whoever gave one since looks again
		}
	})
}

// announce has the other replicas know of the job's answer, unless they do: the error is errSuperseded when
// another has been given since, errKnownRefused when one of them had its metrics refused.
func (w *writeback) announce(j *job) error {
	w.mu.Lock()
	due, at := j.b.heard && j.b.wanted == j.entry, j.b.givenAt
	if due {
		j.b.heard = false
	}
	w.mu.Unlock()
	if !due {
		return nil
	}
	standing, refused := w.last.put(w.ctx, j.bot, j.entry.Key, at)
	switch {
	case standing == answeredSince:
		w.supersede(j, at)
		return errSuperseded
	case standing != isLastAnswer:
		w.tell(j.bot)
	}
	if refused {
		return errKnownRefused
	}
	return nil
}

// supersede gives up the job's answer, unless it was given again since.
func (w *writeback) supersede(j *job, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case j.b.wanted != j.entry:
	case j.b.givenAt.After(at):
		j.b.heard = true
	default:
		w.unwant(j.b)
	}
}

// compareGiven wants the answer that was given here last once more unless the other replica's came after it: the
// server may have that one's metrics. It has only just been served, so memory still has it, or it is too late.
func (w *writeback) compareGiven(j *job) {
	w.mu.Lock()
	given, at := j.b.given, j.b.givenAt
	w.mu.Unlock()
	variant, after := w.last.get(w.ctx, j.bot, at)
	later := variant == given || variant != "" && !after
	e, ok := w.p.memory.Get(given)
	w.mu.Lock()
	defer w.mu.Unlock()
	j.b.working = false
	if later && ok && j.b.given == given && j.b.wanted == nil {
		w.want(j.b, e)
	}
	w.schedule(j.bot, j.b)
}
