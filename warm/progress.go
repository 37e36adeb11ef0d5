package warm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
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

// A Report tells of a run that has ended.
type Report struct {
	Reason      string         `json:"reason"`
	End         string         `json:"end"` // finished or stopped
	Date        string         `json:"date"`
	StartedAt   time.Time      `json:"startedAt"`
	FinishedAt  time.Time      `json:"finishedAt"`
	Seconds     float64        `json:"seconds"`
	Restarts    int            `json:"restarts"` // because the data moved
	Done        int            `json:"done"`
	Total       int            `json:"total"`
	Warmed      int            `json:"warmed"`
	Skipped     int            `json:"skipped"`
	Provisional int            `json:"provisional"`
	Gone        int            `json:"gone"`
	Failed      int            `json:"failed"`
	Failures    map[string]int `json:"failures"` // by reason
	Rate        float64        `json:"ratePerSecond"`
	// Busy is the share of the time of asking in which the server had one of the requests at least,
	// Used how much of the concurrency was made use of on average. Of the last replica, if several.
	Busy float64 `json:"busy"`
	Used float64 `json:"used"`
}

func (p *pass) report(end string) *Report {
	t, now := p.rec.snapshot(), time.Now().UTC()
	r := &Report{
		Reason: p.info.Reason, End: end, Date: p.info.Date, StartedAt: p.info.StartedAt, FinishedAt: now,
		Seconds: now.Sub(p.info.StartedAt).Seconds(), Restarts: p.info.Restarts, Done: t.done(), Total: t.total,
		Warmed: t.counts[warmed], Skipped: t.counts[skipped], Provisional: t.counts[provisional], Gone: t.counts[gone], Failed: t.counts[failed],
		Failures: t.reasons,
	}
	if r.Seconds > 0 {
		r.Rate = float64(r.Done) / r.Seconds
	}
	if !p.began.IsZero() {
		r.Busy, r.Used = p.gate.share(now.Sub(p.began))
	}
	return r
}

// Progress is what GET /_warmfront/warm answers, on every replica the same.
type Progress struct {
	Running     bool           `json:"running"`
	Stage       *string        `json:"stage"`
	Done        int            `json:"done"`
	Total       int            `json:"total"`
	Skipped     int            `json:"skipped"`
	Failed      int            `json:"failed"`
	StartedAt   *time.Time     `json:"startedAt"`
	ETASeconds  *float64       `json:"etaSeconds"`
	LastRun     *Report        `json:"lastRun"`
	Reason      string         `json:"reason,omitempty"`
	Warmed      int            `json:"warmed"`
	Provisional int            `json:"provisional"`
	Gone        int            `json:"gone"`
	Failures    map[string]int `json:"failures"`
}

// stageStarting is shown between a start by hand and the run's beginning.
const stageStarting = "starting"

func (v *view) progress(now time.Time) Progress {
	p := Progress{LastRun: v.last, Failures: map[string]int{}}
	if v.run == nil {
		if v.wanted {
			stage := stageStarting
			p.Running, p.Stage = true, &stage
		}
		return p
	}
	t := v.tally
	p.Running, p.Stage, p.Reason, p.StartedAt = true, &t.stage, v.run.Reason, &v.run.StartedAt
	p.Done, p.Total, p.Failures = t.done(), t.total, t.reasons
	p.Warmed, p.Skipped, p.Provisional, p.Gone, p.Failed = t.counts[warmed], t.counts[skipped], t.counts[provisional], t.counts[gone], t.counts[failed]
	if left := p.Total - p.Done; p.Done > 0 && left >= 0 {
		eta := now.Sub(v.run.StartedAt).Seconds() / float64(p.Done) * float64(left)
		p.ETASeconds = &eta
	}
	return p
}

// Summary is what readyz says of the loop, from memory.
type Summary struct {
	Running bool   `json:"running"`
	Stage   string `json:"stage,omitempty"`
	Done    int    `json:"done,omitempty"`
	Total   int    `json:"total,omitempty"`
}

// Summary is at most a second old.
func (l *Loop) Summary() Summary {
	var v view
	if seen := l.seen.Load(); seen != nil {
		v = *seen
	}
	l.ownRun(&v)
	p := v.progress(time.Now())
	s := Summary{Running: p.Running, Done: p.Done, Total: p.Total}
	if p.Stage != nil {
		s.Stage = *p.Stage
	}
	return s
}

// ownRun puts what this replica knows at first hand into v.
func (l *Loop) ownRun(v *view) {
	if rec := l.current.Load(); rec != nil {
		v.run, v.tally, v.wanted = rec.info, rec.snapshot(), false
	}
}

// ServeHTTP answers GET, POST and DELETE of /_warmfront/warm. Who asks is an admin already.
func (l *Loop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost, http.MethodDelete:
		if !l.o.Enabled {
			reply(w, http.StatusConflict, map[string]string{"error": "the warm loop is off: WARM is false"})
			return
		}
		status = http.StatusAccepted
		err = l.command(r)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		reply(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET, POST or DELETE"})
		return
	}
	v, lookErr := l.lookNow(r.Context())
	if err = errors.Join(err, lookErr); err != nil && r.Method != http.MethodGet {
		reply(w, http.StatusServiceUnavailable, map[string]string{"error": "Redis does not answer, so other replicas can't be told"})
		return
	}
	l.ownRun(&v)
	reply(w, status, v.progress(time.Now()))
}

// command starts or stops, on whichever replica it will be.
func (l *Loop) command(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), ledgerPatience)
	defer cancel()
	if r.Method == http.MethodDelete {
		return l.ledger.halt(ctx)
	}
	if err := l.ledger.want(ctx); err != nil {
		return err
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
	return nil
}

// lookNow reads the ledger for one request; the last look serves when it can't be read.
func (l *Loop) lookNow(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	v, err := l.ledger.look(ctx, "")
	if seen := l.seen.Load(); err != nil && seen != nil {
		v = *seen
	}
	return v, err
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
