package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"warmfront/keying"
	"warmfront/keying/rule"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// ask is an intercepted request on its way: what it means, under which key its answer is kept, and
// what was believed when it arrived.
type ask struct {
	route   *keying.Route
	request *keying.Request
	in      *http.Request
	sent    http.Header // the fields of in that the server gets to see
	caller  caller      // by these
	bot     string      // in the path; "" for none
	body    []byte
	origin  string // that sent shows; "" for none
	started time.Time
	waited  time.Duration // for the server
	spent   time.Duration // of UPSTREAM_TIMEOUT, on what the server was asked before and beside the answer

	// private: what is stored serves the caller only if the server has let it have that (granted), or everyone.
	private, granted bool
	claim            *claim      // nil: none
	access           board.Stamp // of the route, as the request came

	mode   bypassMode
	key    string
	data   *upstream.DataState
	bots   upstream.Bots
	epochs upstream.Epochs
	// still is false while a write to one of the bots is under way: then nothing is kept.
	still bool
	// sure is false when what the key was made of may be out of date: then the server is asked, and
	// the key serves only to find what may be served stale.
	sure bool
	// cutOff: another replica may have done what this one did not hear of when the request came.
	cutOff bool
	// revisions are those that key was made of, parallel to request.Bots.
	revisions []keying.Revision
	// afresh: the server is to compute, whatever it keeps; forced: it was told to.
	afresh, forced bool
	// rowsMade, rowsFresh: what fills knew of the bots' rows before the server was asked.
	rowsMade, rowsFresh bool
}

// intercept is the way of an intercepted request: classify, key, look up, load, store, answer.
func (p *Proxy) intercept(w http.ResponseWriter, r *http.Request, route *keying.Route, param string) {
	a := &ask{route: route, in: r, sent: endToEnd(r.Header), bot: route.Bot(param), private: true, started: time.Now()}
	a.caller, a.access = p.creds.of(a.sent, r.URL.RawQuery), p.access.Stamp(route.Name)
	var err error
	if a.mode, err = p.bypass(r.Header); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if a.mode == bypassAll {
		p.passAsked(w, a, bypassed, "request")
		return
	}
	if !p.read(w, a) {
		return
	}
	if !a.showsOrigin() {
		p.passAsked(w, a, passed, "origin")
		return
	}
	if reason := p.understand(a, param); reason != "" {
		p.passAsked(w, a, passed, reason)
		return
	}
	if reason := p.locate(r.Context(), a); reason == noTime {
		p.answerDown(w, a, &result{err: errUpstreamTimeout})
		return
	} else if reason != "" {
		p.passAsked(w, a, passed, reason)
		return
	}
	if a.mode == refreshOnly {
		// Not shared with a call under way: it began before this request asked for a fresh one.
		served := p.waits(r.Context())
		res := p.fillFor(r.Context(), a)
		served()
		p.answer(w, a, res, false)
		return
	}
	if a.sure {
		if e := p.rememberedEntry(a); e != nil {
			p.answerEntry(w, a, e, hit, memoryTier, cacheStatus{})
			return
		}
		if p.large.has(a.key) {
			p.passAsked(w, a, passed, "too-large")
			return
		}
	}
	served := p.waits(r.Context())
	res, joined, leave, err := p.flight.do(r.Context(), p.flightKey(a), func(ctx context.Context) *result {
		return p.load(ctx, a)
	})
	served()
	defer leave()
	if err != nil {
		panic(http.ErrAbortHandler) // the client has left; returning would answer 200
	}
	p.answer(w, a, res, joined)
}

// rememberedEntry gives the answer that memory has for the request, if it may be served as a hit; nil otherwise.
func (p *Proxy) rememberedEntry(a *ask) *store.Entry {
	e, ok := p.memory.Get(a.key)
	if !ok || !p.isUsable(a, e) || !p.may(a, e) || !p.audit.believes(e) {
		return nil
	}
	return e
}

// isUsable reports whether a stored answer may be served as a hit. A restart of the server may have made true what
// was doubtful.
func (p *Proxy) isUsable(a *ask, e *store.Entry) bool {
	return e.IsFresh(time.Now()) && (e.Provisional == "" || e.StoredAt.After(a.data.RestartedAt))
}

// flightKey separates those whose key is certain from those who only ask the server. While a write is
// under way a call may have begun before it and end after: that one is nobody else's. Nor does a call that
// began before a write serve who comes after it, though another may have written back what was there
// before, and the key be the same: what the server saw in between isn't told. Of writes through other replicas a
// replica that is cut off does not hear: who comes then has asked for the revisions of the bots, and joins only who has
// done so too. Nor do those share one whom the server may answer differently (company).
func (p *Proxy) flightKey(a *ask) string {
	company, ok := p.company(a)
	switch {
	case !ok:
		return "alone " + rand.Text()
	case a.sure && a.still:
		return fmt.Sprint(company, a.key, a.epochs, a.cutOff)
	case !a.still || p.board.Writing(board.Data, ""):
		return "alone " + rand.Text()
	}
	return fmt.Sprint("unsure ", company, a.key, a.epochs, a.cutOff, p.board.Epoch(board.Data, ""))
}

// load is what one flight does for all who wait: Redis first, then the server. Memory is looked at again, for a flight may
// have ended between this request's look and its own flight's begin.
func (p *Proxy) load(ctx context.Context, a *ask) *result {
	if a.sure {
		if e := p.rememberedEntry(a); e != nil {
			return &result{entry: e, tier: memoryTier}
		}
		if e := p.sharedEntry(ctx, a); e != nil {
			return &result{entry: e, tier: redisTier}
		}
	}
	return p.fillOnce(ctx, a)
}

// read takes the body in, once. It reports false when the request has been dealt with: answered,
// passed because it is too large to be keyed, or left by its client.
func (p *Proxy) read(w http.ResponseWriter, a *ask) bool {
	body := a.in.Body
	read, err := io.ReadAll(io.LimitReader(body, int64(p.cfg.MaxRequest)+1))
	switch {
	case err != nil:
		writeBodyError(w, err)
		return false
	case int64(len(read)) > int64(p.cfg.MaxRequest):
		a.in.Body = readAgain(read, body)
		p.passStreamed(w, a, "request-too-large")
		return false
	}
	a.body = read
	return true
}

// understand keys the request by what it means; otherwise it gives the reason why not. What the server's body parser
// would not read as JSON in UTF-8 is not ours to understand. No body means the same whatever its type, if it has none.
func (p *Proxy) understand(a *ask, param string) (reason string) {
	if a.in.Method != http.MethodGet && !readsBody(a.sent) && (len(a.body) > 0 || a.saysBody()) {
		return "not-json"
	}
	if a.in.Method == http.MethodGet && len(a.body) > 0 {
		return "unexpected-body"
	}
	request, err := a.route.Parse(param, a.in.URL.RawQuery, a.body, p.audit.ids(a.route))
	if err != nil {
		var not *keying.NotKeyed
		if errors.As(err, &not) {
			return not.Reason
		}
		return "not-keyed"
	}
	a.request = request
	if request.Refresh && a.mode == useCache {
		a.mode = refreshOnly
	}
	return ""
}

// saysBody reports whether the request says what its body is.
func (a *ask) saysBody() bool {
	return len(a.sent["Content-Type"]) > 0 || len(a.sent["Content-Encoding"]) > 0
}

// noTime is the reason not to ask a server for the answer that has let all of UPSTREAM_TIMEOUT go by over a revision.
const noTime = "no-time"

// locate finds the key, from the data date and the revisions of the bots that the answer depends
// on; otherwise it gives the reason why the answer can't be kept.
func (p *Proxy) locate(ctx context.Context, a *ask) (reason string) {
	began := time.Now()
	defer func() { a.spent = time.Since(began) }()
	a.cutOff = p.board.CutOff()
	p.data.Await(ctx)
	state, sureOfData := p.data.Current()
	if state == nil {
		return "no-data-date"
	}
	a.data = state
	a.bots = upstream.Bots{IDs: a.request.Bots, Metrics: a.request.NeedsMetrics(), Absent: a.route.Kind == keying.Correlation}
	p.admit(ctx, a)
	a.epochs, a.still = p.revisions.Epochs(a.bots)
	revisions, sureOfBots, err := p.revisions.Of(ctx, a.bots)
	if errors.Is(err, upstream.ErrNoRevision) && p.hides(ctx, a) {
		revisions, sureOfBots, err = p.revisions.Of(ctx, a.bots)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return noTime
	case err != nil:
		return "no-revision"
	}
	p.data.Uses(a.request.Uses(revisions))
	a.sure, a.revisions = sureOfData && sureOfBots, revisions
	a.key, err = a.request.Key(masked(revisions), p.dataFor(a))
	if err != nil {
		return "not-keyed"
	}
	return ""
}

// masked takes out of revisions what a test has put out of force.
func masked(revisions []keying.Revision) []keying.Revision {
	if !rule.Off(rule.RevisionKeyed) && !rule.Off(rule.MetricsKeyed) {
		return revisions
	}
	masked := make([]keying.Revision, len(revisions))
	for i, r := range revisions {
		if r.Metrics = "-"; rule.Off(rule.RevisionKeyed) {
			r.Strategy, r.Settings = "-", "-"
		}
		masked[i] = r
	}
	return masked
}

func (p *Proxy) dataFor(a *ask) keying.Data {
	d := keying.Data{
		Date: a.data.Date, Generation: a.data.GenerationFor(usesOf(a.request), a.request.Bots), Epoch: p.cfg.Epoch,
		Today: day(time.Now()),
	}
	if rule.Off(rule.GenerationKeyed) {
		d.Date, d.Generation = "2000-01-01", ""
	}
	return d
}

func usesOf(q *keying.Request) upstream.Uses {
	return upstream.Uses{Prices: q.Route.NeedsPrices(), Tables: q.NeedsTables()}
}

// fromRedis gives the entry of key, nil when there is none or Redis does not say. Requests go on.
func (p *Proxy) fromRedis(ctx context.Context, key string) *store.Entry {
	if p.redis == nil {
		return nil
	}
	e, err := p.redis.Get(ctx, key)
	switch {
	case err == nil && p.audit.believes(e):
		return e
	case err == nil: // the audit found it wrong, and Redis has not dropped it yet
	case errors.Is(err, store.ErrForeign):
		p.metrics.redisForeign.Inc()
	case errors.Is(err, store.ErrNotFound), ctx.Err() != nil:
	default:
		p.metrics.redisErrors.WithLabelValues("get").Inc()
	}
	return nil
}

// stale gives an answer that may be served because the server is down (RFC 5861, section 4).
func (p *Proxy) stale(ctx context.Context, a *ask) (*store.Entry, string) {
	if e, ok := p.memory.Get(a.key); ok && e.IsUsableStale(time.Now()) && p.may(a, e) && p.audit.believes(e) {
		return e, memoryTier
	}
	if e := p.fromRedis(ctx, a.key); e != nil && e.IsUsableStale(time.Now()) && p.may(a, e) {
		return e, redisTier
	}
	return nil, ""
}
