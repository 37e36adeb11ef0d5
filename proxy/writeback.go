package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warmfront/proxy/lease"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

const (
	maxWanted        = 1000     // bots that wait for their metrics to be written back
	maxWantedBytes   = 64 << 20 // of stored answers that they hold
	maxKnownMetrics  = 50_000   // bots of which it is remembered what was saved
	writebackWorkers = 4
)

// writeback leaves each bot's saved metrics as the server would have. The server saves them on every
// run, also on its own cache's hits (contract, trap 7); a hit of ours skips that. So when the answer
// that a hit serves is not the one whose metrics were saved last, they are sent, once. Of a bot only
// the last answer counts, whichever replica gave it (lastAnswers), and the requests about it are made one after
// the other, by whoever has its lease. A nil writeback does nothing.
type writeback struct {
	p       *Proxy
	client  *upstream.Client
	dropped *prometheus.CounterVec
	limit   time.Duration // of tries, for one answer
	last    *lastAnswers
	leases  *lease.Leases
	tell    func(bot string) // the other replicas, that the bot's last answer is another now
	current func() bool      // whether what they tell is heard here
	ctx     context.Context  // ends with the proxy, at the latest
	cancel  context.CancelFunc

	mu      sync.Mutex
	bots    map[string]*botMetrics
	queue   []string // bots that wait for a worker
	wanted  int      // bots that have one
	held    int64    // bytes of answers that they hold
	workers int
	closed  bool
	running sync.WaitGroup
}

// botMetrics is what is known of a bot's saved metrics, and what they are to be.
type botMetrics struct {
	saved   string       // key of the answer whose metrics the server has; "" when that isn't known
	wanted  *store.Entry // the last answer, while the server may have other metrics
	given   string       // key of the last answer given here; "" when it isn't known
	givenAt time.Time
	heard   bool   // the other replicas are to be told of wanted, or asked whether it is still the last
	compare bool   // another replica told of an answer: given may be later
	runs    int    // runs under way that will save metrics
	mixed   bool   // a run met another, a request of ours, or one of another replica: the order isn't known
	warmed  bool   // the last run was the warm loop's
	moves   uint64 // counts what may have moved the saved metrics besides requests of ours

	refused      string // key of the answer whose metrics the server refused: not sent again before refusedUntil
	refusedUntil time.Time

	// Until unsure, a run that was given up may still save its metrics. Meanwhile the answer of seen is
	// looked after now and then only.
	unsure  time.Time
	seen    string
	lookOut time.Time

	queued, working bool
}

// ending says how a run at the server ended. With last it saved its metrics, whatever they are, before
// anybody was answered; with saved they are those of that answer. With unsure it may go on there. With warmed it
// was the warm loop's.
type ending struct {
	saved  *store.Entry
	last   bool
	unsure bool
	warmed bool
}

func newWriteback(p *Proxy) *writeback {
	w := &writeback{
		p: p, client: p.client, bots: map[string]*botMetrics{}, limit: writebackFor,
		tell: func(string) {}, current: func() bool { return true },
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_writeback_dropped_total", Help: "Metrics of a bot that were not written back after a hit.",
		}, []string{"reason"}),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	p.metrics.registry.MustRegister(w.dropped)
	return w
}

// hit notes that e was served to somebody who asked for a run of the bot.
func (w *writeback) hit(bot string, e *store.Entry) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b, now := w.bot(bot), time.Now()
	b.given, b.givenAt = e.Key, now
	switch {
	case b.wanted != nil && b.wanted.Key == e.Key:
	case b.wanted == nil && b.runs == 0 && (b.saved == e.Key && w.current() || b.isRefused(e.Key)):
	case b.wanted == nil && b.runs == 0 && b.seen == e.Key && now.Before(b.lookOut):
	default:
		w.want(b, e)
		w.schedule(bot, b)
	}
	b.warmed = false
}

func (b *botMetrics) isRefused(key string) bool {
	return b.refused == key && time.Now().Before(b.refusedUntil)
}

// warmHit notes that e is what the warm loop was given for the bot. It has its metrics sent only after the loop
// itself has had others saved: to what users were answered the loop changes nothing.
func (w *writeback) warmHit(bot string, e *store.Entry) {
	if w == nil {
		return
	}
	w.mu.Lock()
	warmed := w.bots[bot] != nil && w.bots[bot].warmed
	w.mu.Unlock()
	if warmed {
		w.hit(bot, e)
	}
}

// passes notes a request that moves the bot's saved metrics and whose answer is not ours; the function
// that it gives, that it is over, or was given up.
func (w *writeback) passes(bot string) (ended func(givenUp bool)) {
	if w == nil {
		return func(bool) {}
	}
	// Whoever was answered before it came was so before it; who is answered meanwhile may be after it.
	w.superseded(bot)
	w.answered(bot, "")
	w.begin(bot)
	return func(givenUp bool) { w.end(bot, ending{unsure: givenUp}) }
}

// begin notes a run that reaches the server.
func (w *writeback) begin(bot string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started(w.bot(bot))
}

// beginAudit is begin for a run of our own, which must not undo what others were answered since: it
// reports false when the answer of key isn't the bot's last.
func (w *writeback) beginAudit(bot, key string) bool {
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.bot(bot)
	last := b.saved == key || b.isRefused(key) || b.seen == key
	if b.wanted != nil {
		last = b.wanted.Key == key
	}
	if !last || b.runs > 0 {
		return false
	}
	w.started(b)
	return true
}

func (w *writeback) started(b *botMetrics) {
	b.mixed = b.mixed || b.runs > 0 || b.working
	b.runs++
	b.moves++
}

// end notes how what was begun ended.
func (w *writeback) end(bot string, how ending) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.bot(bot)
	b.runs--
	alone := !b.mixed && !b.working
	if b.runs == 0 {
		b.mixed = false
	}
	b.lose()
	if how.unsure {
		b.unsure = time.Now().Add(w.p.cfg.UpstreamTimeout)
	}
	if how.saved != nil && alone && time.Now().After(b.unsure) {
		b.saved = how.saved.Key
	}
	if how.last {
		// Whoever was answered before was so before this one.
		w.unwant(b)
		b.given, b.givenAt = "", time.Now()
		if how.saved != nil {
			b.given = how.saved.Key
		}
		w.answeredLocked(bot, b.given)
		b.warmed = how.warmed
		if how.saved != nil && !alone {
			w.want(b, how.saved)
		}
	}
	w.schedule(bot, b)
}

// superseded notes that another answer about the bot is on its way.
func (w *writeback) superseded(bot string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.bots[bot]; b != nil {
		w.unwant(b)
		b.given = ""
		b.moved()
	}
}

// givenElsewhere notes that another replica has given an answer of another variant. Which one was the last is
// looked up: what was given here may be later.
func (w *writeback) givenElsewhere(bot string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.bots[bot]
	if b == nil {
		return
	}
	b.moved()
	b.heard = true
	if b.given != "" && time.Since(b.givenAt) < maxNews {
		b.compare = true
		w.schedule(bot, b)
	}
}

// moved notes that another replica moved, or is moving, the bot's saved metrics, on whose behalf it does not
// say. What is waiting is compared before it is sent.
func (w *writeback) moved(bot string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.bots[bot]; b != nil {
		b.moved()
	}
}

func (b *botMetrics) moved() {
	b.mixed = b.mixed || b.runs > 0
	b.lose()
}

// lose makes what was known unknown.
func (b *botMetrics) lose() {
	b.saved, b.seen = "", ""
	b.moves++
}

// forgetAll notes that any bot's may have been moved. What is waiting is compared before it is sent.
func (w *writeback) forgetAll() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.bots {
		b.moved()
		b.heard = true
	}
}

// close gives what is waiting as long as ctx allows.
func (w *writeback) close(ctx context.Context) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	drained := make(chan struct{})
	go func() { w.running.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-ctx.Done():
	}
	w.cancel()
	<-drained
}

// bot gives the record of a bot, made if need be. The caller holds mu.
func (w *writeback) bot(id string) *botMetrics {
	b := w.bots[id]
	if b == nil {
		if len(w.bots) >= maxKnownMetrics {
			for id, b := range w.bots {
				if b.wanted == nil && b.runs == 0 && !b.working && !b.queued {
					delete(w.bots, id) // what was saved is unknown again, and will be looked up
				}
			}
		}
		b = &botMetrics{}
		w.bots[id] = b
	}
	return b
}

// want makes e the bot's last answer. The caller holds mu.
func (w *writeback) want(b *botMetrics, e *store.Entry) {
	w.unwant(b)
	if w.closed || w.wanted >= maxWanted || w.held+int64(len(e.Body)) > maxWantedBytes {
		w.dropped.WithLabelValues("full").Inc()
		return
	}
	b.wanted, b.heard = e, true
	w.wanted++
	w.held += int64(len(e.Body))
}

func (w *writeback) unwant(b *botMetrics) {
	if b.wanted != nil {
		w.wanted--
		w.held -= int64(len(b.wanted.Body))
		b.wanted = nil
	}
}

// schedule sees to it that somebody deals with what is wanted. The caller holds mu.
func (w *writeback) schedule(id string, b *botMetrics) {
	if b.wanted == nil && !b.compare || b.runs > 0 || b.queued || b.working {
		return
	}
	if w.closed && w.workers == 0 {
		if b.wanted != nil {
			w.dropped.WithLabelValues("closing").Inc()
		}
		w.unwant(b)
		return
	}
	b.queued = true
	w.queue = append(w.queue, id)
	if w.workers < writebackWorkers && !w.closed {
		w.workers++
		w.running.Go(w.work)
	}
}
