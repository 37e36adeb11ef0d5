package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
)

// audit has the server compute a share of the hits again and compares: the rules by which requests
// share an answer are inferred from a server that we don't control.
type audit struct {
	p      *Proxy
	ctx    context.Context // ends with the proxy
	cancel context.CancelFunc
	onDrop func(key string) // tells other replicas; set before the first request

	mu      sync.Mutex
	busy    bool
	closed  bool
	report  auditReport
	running sync.WaitGroup

	// exact says of each route whether it is keyed by exact ids because an id was seen to matter.
	exact map[*keying.Route]*atomic.Bool
	// condemned are the entries that were found wrong, by key: what a tier has not dropped yet, or
	// gives back, is not served. nil until the first.
	condemned atomic.Pointer[map[string]condemnation]

	done, mismatches, discarded *prometheus.CounterVec
}

// auditReport is what readyz tells.
type auditReport struct {
	Mismatches   int       `json:"mismatches"`
	LastMismatch *mismatch `json:"lastMismatch"`
}

// mismatch is an answer that was not what the server computed. Path is where, in names of fields.
type mismatch struct {
	Key   string    `json:"key"`
	Route string    `json:"route"`
	Path  string    `json:"path"`
	At    time.Time `json:"at"`
}

// condemnation names one entry of a key, in whatever tier; a later one of the key is another.
type condemnation struct {
	digest string
	stored int64 // Unix milliseconds
	until  time.Time
}

const (
	maxCondemned    = 10_000 // each is needed until its entry has expired everywhere
	maxDataPatience = 2 * time.Minute
)

func newAudit(p *Proxy) *audit {
	u := &audit{
		p: p, exact: map[*keying.Route]*atomic.Bool{}, onDrop: func(string) {},
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_audits_total", Help: "Hits that were compared with a new computation of the server.",
		}, []string{"route"}),
		mismatches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_audit_mismatch_total", Help: "Hits that differed from a new computation of the server, and were dropped.",
		}, []string{"route"}),
		discarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_audit_discarded_total", Help: "Audits that prove nothing: the server failed, or something changed meanwhile.",
		}, []string{"reason"}),
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	for _, route := range keying.Routes() {
		u.exact[route] = &atomic.Bool{}
		u.done.WithLabelValues(route.Name)
		u.mismatches.WithLabelValues(route.Name)
	}
	p.metrics.registry.MustRegister(u.done, u.mismatches, u.discarded)
	return u
}

// ids says how the ids in strategies are keyed on the route.
func (u *audit) ids(route *keying.Route) keying.IDs {
	if u.exact[route].Load() {
		return keying.Exact
	}
	return keying.ByOrder
}

// byExactIDs is told by another replica that an id was seen to matter on the route.
func (u *audit) byExactIDs(route string) {
	for r, exact := range u.exact {
		if r.Name == route && !exact.Swap(true) {
			u.p.log.Warn("another replica found that ids matter on this route; it is keyed by exact ids from now on", zap.String("route", route))
		}
	}
}

// tellAgain tells the other replicas, some of which may be new, what Redis may have lost.
func (u *audit) tellAgain() {
	for route, exact := range u.exact {
		if exact.Load() {
			u.p.board.Post(board.Subject{Class: board.Route, Name: route.Name})
		}
	}
}

// state is what is known of mismatches.
func (u *audit) state() auditReport {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.report
}

// close ends the audit that is under way.
func (u *audit) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.cancel()
	u.running.Wait()
}

// consider audits a hit that was just answered if chance has it so, no other audit is under way and
// nobody waits for the server. A provisional answer is known not to be the last word: it proves nothing.
func (u *audit) consider(a *ask, e *store.Entry) {
	rate := u.p.cfg.AuditRate
	if rate == 0 || rand.Float64() >= rate || e.Provisional != "" || u.p.UsersWaiting() > 0 || !u.begin() {
		return
	}
	again := a.again()
	go func() {
		defer u.end()
		// One replica at a time: the server computes in one thread, whoever asks.
		held, err := u.p.leases.Take(u.ctx, "audit")
		if err != nil && u.p.leases != nil {
			return
		}
		defer held.Release("")
		again.bots.Credentials = u.p.ownCredentials(u.ctx)
		again.caller = caller{fields: again.bots.Credentials}
		maps.Copy(again.sent, again.bots.Credentials)
		u.run(again, e)
	}()
}

func (u *audit) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy || u.closed {
		return false
	}
	u.busy = true
	u.running.Add(1)
	return true
}

func (u *audit) end() {
	u.mu.Lock()
	u.busy = false
	u.mu.Unlock()
	u.running.Done()
}

// again is the ask as Warmfront's own: to be computed afresh where the server can be told to, and
// without anything of the user's but the question.
func (a *ask) again() *ask {
	own := *a
	in := *a.in
	in.Header = http.Header{"User-Agent": {"warmfront"}}
	in.Body, in.RemoteAddr = nil, "127.0.0.1:0"
	own.in, own.sent, own.origin, own.claim = &in, in.Header, "", nil
	if forced := a.request.Forced(); forced != nil {
		own.body = forced
	}
	return &own
}

// errDiscarded ends an audit that proves nothing.
type errDiscarded struct{ reason string }

func (e *errDiscarded) Error() string { return "audit discarded: " + e.reason }

func (u *audit) run(a *ask, e *store.Entry) {
	ctx, cancel := context.WithTimeout(u.ctx, u.p.cfg.UpstreamTimeout)
	defer cancel()
	same, where, err := u.compare(ctx, a, e)
	var discarded *errDiscarded
	switch {
	case errors.As(err, &discarded):
		u.discarded.WithLabelValues(discarded.reason).Inc()
	case err != nil:
		u.discarded.WithLabelValues("failed").Inc()
		u.p.log.Debug("audit failed", zap.String("key", e.Key), zap.Error(err))
	case same:
		u.done.WithLabelValues(a.route.Name).Inc()
	default:
		u.differs(a, e, where)
	}
}

// compare asks the server again. Nothing that the key says may change meanwhile.
func (u *audit) compare(ctx context.Context, a *ask, e *store.Entry) (same bool, where string, err error) {
	if reason := u.p.changed(ctx, a); reason != "" {
		return false, "", &errDiscarded{reason}
	}
	fresh, err := u.compute(ctx, a, e)
	if err != nil {
		return false, "", err
	}
	if reason := u.p.changed(ctx, a); reason != "" {
		return false, "", &errDiscarded{reason}
	}
	stored := e.Body
	if e.Gzip {
		if stored, err = gunzip(e.Body, int64(u.p.cfg.MaxEntry)); err != nil {
			return false, "", fmt.Errorf("reading the stored answer: %w", err)
		}
	}
	return a.request.Same(stored, fresh)
}

// compute gives the server's answer, decoded, if it is one that could be stored.
func (u *audit) compute(ctx context.Context, a *ask, e *store.Entry) ([]byte, error) {
	if a.route.Name != runBacktest {
		return u.ask(ctx, a)
	}
	// The run saves metrics as the hit should have (trap 7), unless others were answered since.
	if !u.p.writeback.beginAudit(a.request.Bot, e.Key) {
		return nil, &errDiscarded{"other-variant"}
	}
	end := ending{unsure: true}
	defer func() { u.p.writeback.end(a.request.Bot, end) }()
	ended := u.p.beginWrite(a.request.Bot)
	fresh, err := u.ask(ctx, a)
	var discarded *errDiscarded
	ended(err == nil || errors.As(err, &discarded) && discarded.reason != "broken-off")
	if err == nil {
		end = ending{saved: e}
	}
	return fresh, err
}

func (u *audit) ask(ctx context.Context, a *ask) ([]byte, error) {
	res, err := u.p.call(ctx, a)
	if err != nil {
		return nil, err
	}
	raw := u.p.receive(res)
	u.p.noted(ctx, a, raw.status)
	if raw.rest != nil {
		_ = raw.rest.Close()
	}
	if reason := refusal(raw); reason != "" {
		return nil, &errDiscarded{reason}
	}
	plain := raw.body
	if raw.gzip {
		if plain, err = gunzip(raw.body, int64(u.p.cfg.MaxEntry)); err != nil {
			return nil, fmt.Errorf("decoding the answer: %w", err)
		}
	}
	verdict, err := a.request.Judge(plain, a.revisions...)
	switch {
	case err != nil:
		return nil, err
	case verdict.LastDate != "" && verdict.LastDate < a.data.Date:
		return nil, &errDiscarded{"behind-data"}
	}
	return plain, nil
}

// differs deals with an answer that isn't what the server computes. It is dropped in any case; what else
// follows waits until new data would have been seen, which is the likeliest reason for a difference.
func (u *audit) differs(a *ask, e *store.Entry, where string) {
	u.drop(e)
	select {
	case <-time.After(min(2*u.p.cfg.DataDateInterval, maxDataPatience)):
	case <-u.ctx.Done():
	}
	if now, sure := u.p.data.Current(); !sure || now.Generation() != a.data.Generation() || u.ctx.Err() != nil {
		u.discarded.WithLabelValues("data-changed").Inc()
		return
	}
	u.convict(a, e, where)
}

// convict counts and tells of an answer that was wrong, and stops taking ids for meaningless where they
// may have been the reason.
func (u *audit) convict(a *ask, e *store.Entry, where string) {
	ctx, cancel := context.WithTimeout(u.ctx, u.p.cfg.UpstreamTimeout)
	defer cancel()
	ids := "as before"
	if u.spelledDifferently(ctx, a, e) && !u.exact[a.route].Swap(true) {
		ids = "exact from now on"
		u.p.board.Post(board.Subject{Class: board.Route, Name: a.route.Name})
	}
	u.mu.Lock()
	u.report.Mismatches++
	u.report.LastMismatch = &mismatch{Key: e.Key, Route: a.route.Name, Path: where, At: time.Now().UTC()}
	u.mu.Unlock()
	u.done.WithLabelValues(a.route.Name).Inc()
	u.mismatches.WithLabelValues(a.route.Name).Inc()
	u.p.log.Warn("a stored answer is not what the server computes; it was dropped", zap.String("route", a.route.Name),
		zap.String("key", e.Key), zap.String("path", where), zap.String("ids", ids))
}

// spelledDifferently reports whether the entry was, or may have been, filled by a request with other
// ids than the one that hit it.
func (u *audit) spelledDifferently(ctx context.Context, a *ask, e *store.Entry) bool {
	if e.Spelling == "" || len(a.request.Bots) == 0 {
		return e.Spelling != a.request.Spelling(nil)
	}
	revisions, err := u.p.revisions.Fetch(ctx, a.bots)
	return err != nil || e.Spelling != a.request.Spelling(revisions)
}

// drop makes sure that e is served no more, by this replica at once.
func (u *audit) drop(e *store.Entry) {
	u.condemn(e)
	u.p.memory.Del(e.Key)
	if u.p.redis != nil {
		if err := u.p.redis.Del(context.Background(), e.Key); err != nil {
			u.p.metrics.redisErrors.WithLabelValues("del").Inc()
		}
	}
	u.onDrop(e.Key)
}

func (u *audit) condemn(e *store.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := map[string]condemnation{}
	if known := u.condemned.Load(); known != nil {
		now := time.Now()
		maps.Copy(all, *known)
		maps.DeleteFunc(all, func(_ string, c condemnation) bool { return now.After(c.until) })
	}
	for key := range all {
		if len(all) < maxCondemned {
			break
		}
		delete(all, key)
	}
	all[e.Key] = condemnation{e.Digest, e.StoredAt.UnixMilli(), e.StoredAt.Add(e.Fresh + e.Stale)}
	u.condemned.Store(&all)
}

// believes reports whether e has not been found wrong.
func (u *audit) believes(e *store.Entry) bool {
	all := u.condemned.Load()
	if all == nil {
		return true
	}
	c, ok := (*all)[e.Key]
	return !ok || c.digest != e.Digest || c.stored != e.StoredAt.UnixMilli()
}
