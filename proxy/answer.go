package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// outcome is the X-Cache of an answer.
type outcome int

const (
	hit outcome = iota
	miss
	stale
	bypassed
	refreshed
	passed
	outcomes
)

// String gives the value of X-Cache.
func (o outcome) String() string {
	return [...]string{"HIT", "MISS", "STALE", "BYPASS", "REFRESH", "PASS"}[o]
}

const (
	memoryTier   = "memory"
	redisTier    = "redis"
	upstreamTier = "upstream"
)

// cacheStatus is what Cache-Status tells beside the outcome (RFC 9211).
type cacheStatus struct {
	stored, collapsed bool
	reason            string
	status            int
}

// answer serves what a flight brought, to one of those who waited for it.
func (p *Proxy) answer(w http.ResponseWriter, a *ask, res *result, joined bool) {
	a.waited = res.took
	switch {
	case res.entry != nil && res.tier != upstreamTier:
		p.answerEntry(w, a, res.entry, hit, res.tier, cacheStatus{collapsed: joined})
	case res.entry != nil:
		how := miss
		if a.mode == refreshOnly {
			how = refreshed
		}
		p.answerEntry(w, a, res.entry, how, upstreamTier, cacheStatus{stored: true, collapsed: joined})
	case res.err != nil:
		p.answerDown(w, a, res)
	case res.answer.broken != nil:
		p.answerBroken(w, a, res, joined)
	case joined && !shareable(res.answer):
		// What the server said to another caller is not for this one.
		p.passAsked(w, a, passed, res.reason)
	case res.answer.rest != nil && res.answer.claimed.Swap(true):
		p.passAsked(w, a, passed, res.reason)
	default:
		p.answerRaw(w, a, res, joined)
	}
}

// answerEntry serves a stored answer: status, body and end-to-end header as the server gave them,
// with the CORS fields of whoever asks now.
func (p *Proxy) answerEntry(w http.ResponseWriter, a *ask, e *store.Entry, how outcome, tier string, s cacheStatus) {
	cors, err := p.corsOf(a)
	if errors.Is(err, upstream.ErrStatus) && how != stale {
		p.passAsked(w, a, passed, "origin")
		return
	}
	now := time.Now()
	h := w.Header()
	as := identity
	if e.Gzip {
		as = codingFor(a.in.Header["Accept-Encoding"])
	}
	e.CopyHeader(h, as == gzipCoding)
	maps.Copy(h, cors)
	if cors == nil {
		h["Vary"] = []string{"Origin, Accept-Encoding"}
	}
	if how == hit || how == stale {
		h["Age"] = []string{strconv.FormatInt(int64(e.Age(now)/time.Second), 10)}
	}
	if as != identity && as != gzipCoding {
		h["Etag"] = []string{`"` + e.Digest + `-` + as.String() + `"`}
		h["Content-Encoding"] = []string{as.String()}
		h.Del("Content-Length")
	}
	p.label(h, a, how, tier, s.entry(e, how, tier, now))
	if how == hit {
		p.hits(a, e)
	}
	status := e.Status
	switch {
	case matches(a.in.Header["If-None-Match"], e.Digest):
		status = http.StatusNotModified
		h.Del("Content-Length")
		h.Del("Content-Type")
		h.Del("Content-Encoding")
		w.WriteHeader(status)
	case as == gzipCoding:
		h["Content-Encoding"] = []string{"gzip"}
		w.WriteHeader(status)
		_, err = w.Write(e.Body)
	case e.Gzip:
		w.WriteHeader(status)
		err = recode(w, bytes.NewReader(e.Body), as)
	default:
		w.WriteHeader(status)
		_, err = w.Write(e.Body)
	}
	p.done(a, how, tier, status, s.reason)
	if how == hit {
		p.hasHit(a, e)
	}
	if err != nil && a.in.Context().Err() == nil {
		p.log.Debug("answer not delivered in full", zap.Error(err))
	}
}

// answerRaw serves an answer that is not kept, as the server gave it.
func (p *Proxy) answerRaw(w http.ResponseWriter, a *ask, res *result, joined bool) {
	raw := res.answer
	h := w.Header()
	p.putHeader(h, a, raw, joined)
	p.label(h, a, passed, upstreamTier, cacheStatus{collapsed: joined, reason: res.reason, status: raw.status}.forward("miss"))
	var body io.Reader = bytes.NewReader(raw.body)
	if raw.rest != nil {
		defer raw.rest.Close()
		body = io.MultiReader(body, raw.rest)
	}
	as := codingFor(a.in.Header["Accept-Encoding"])
	decode := raw.gzip && as != gzipCoding
	if decode {
		h.Del("Content-Encoding")
		if as != identity {
			h["Content-Encoding"] = []string{as.String()}
		}
		h.Del("Content-Length")
	} else if raw.rest == nil {
		h["Content-Length"] = []string{strconv.Itoa(len(raw.body))}
	}
	w.WriteHeader(raw.status)
	var err error
	if decode {
		err = recode(w, body, as)
	} else {
		_, err = io.Copy(w, body)
	}
	p.done(a, passed, upstreamTier, raw.status, res.reason)
	if err != nil {
		// Half an answer must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
}

// answerDown serves a stale answer when the server is down, else 502 or 504.
func (p *Proxy) answerDown(w http.ResponseWriter, a *ask, res *result) {
	if p.answerStale(w, a) {
		return
	}
	how := passed
	if a.mode == refreshOnly {
		how = refreshed
	}
	p.log.Warn("upstream failed", zap.String("route", a.route.Name), causeOf(res.err))
	p.label(w.Header(), a, how, upstreamTier, cacheStatus{reason: "upstream-down"}.forward("miss"))
	status := failure(res.err)
	writeError(w, status, "upstream unavailable")
	p.done(a, how, upstreamTier, status, "upstream-down")
}

// answerBroken hands on an answer that broke off: as far as it came, and visibly broken.
func (p *Proxy) answerBroken(w http.ResponseWriter, a *ask, res *result, joined bool) {
	if p.answerStale(w, a) {
		return
	}
	raw := res.answer
	h := w.Header()
	if !raw.gzip || codingFor(a.in.Header["Accept-Encoding"]) == gzipCoding {
		p.putHeader(h, a, raw, joined)
		p.label(h, a, passed, upstreamTier, cacheStatus{reason: res.reason, status: raw.status}.forward("miss"))
		w.WriteHeader(raw.status)
		_, _ = w.Write(raw.body)
		_ = http.NewResponseController(w).Flush()
	}
	p.done(a, passed, upstreamTier, raw.status, res.reason)
	panic(http.ErrAbortHandler)
}

// answerStale serves what is kept under the key if it may be while the server is down.
func (p *Proxy) answerStale(w http.ResponseWriter, a *ask) bool {
	if a.mode != useCache {
		return false
	}
	e, tier := p.stale(a.in.Context(), a)
	if e == nil {
		return false
	}
	p.answerEntry(w, a, e, stale, tier, cacheStatus{reason: "upstream-down"})
	return true
}

// passAsked streams an intercepted request through, saying why.
func (p *Proxy) passAsked(w http.ResponseWriter, a *ask, how outcome, reason string) {
	switch {
	case len(a.body) > 0:
		a.in.Body = io.NopCloser(bytes.NewReader(a.body))
	case a.body != nil:
		a.in.Body = http.NoBody
	}
	p.passAs(w, a, how, reason)
}

// passStreamed is passAsked for a body that was not taken in whole.
func (p *Proxy) passStreamed(w http.ResponseWriter, a *ask, reason string) {
	p.passAs(w, a, passed, reason)
}

func (p *Proxy) passAs(w http.ResponseWriter, a *ask, how outcome, reason string) {
	mark := &passMark{outcome: how, reason: reason, started: a.started}
	if a.in.Header.Get("X-Cache-Debug") == "1" && a.entitled() {
		mark.key = a.key
	}
	a.in.Header.Del(p.cfg.BypassHeader) // it may hold a token, and is for us
	if p.cfg.Access != config.AccessPublic {
		a.claim = p.grants.claim(a)
		tap := &tapped{ResponseWriter: w}
		w = tap
		// Before the answer's end is sent, if it is as short as a refusal is.
		tap.onStatus = func(status int) { p.noted(a.in.Context(), a, status) }
	}
	begun, _ := p.data.Current()
	defer func() { p.computes(a, begun) }()
	began := time.Now()
	if !p.passRun(w, a, mark) {
		return
	}
	a.waited = time.Since(began)
	p.done(a, how, upstreamTier, mark.status, reason)
}

// passRun passes the request. A run leaves metrics behind (contract, trap 7): it is a write of them from when the
// server has its body, which may not have been read here, until its answer is over. It reports false when the request
// was answered without the server.
func (p *Proxy) passRun(w http.ResponseWriter, a *ask, mark *passMark) (passed bool) {
	if !a.route.SavesMetrics() {
		p.pass(w, a.in, mark)
		return true
	}
	ctx := context.WithoutCancel(a.in.Context())
	run := &writing{begin: func() func(int, bool) {
		saved := p.passesAsked(a)
		write := p.board.Begin(ctx, board.Subject{Class: board.Metrics, Name: a.bot})
		p.runsForeign(ctx, a.bot)
		return func(_ int, certain bool) {
			write.End(certain)
			saved(certain)
		}
	}}
	defer run.giveUp()
	held, ok := run.hold(w, a.in)
	if ok && p.pass(w, held, mark) {
		run.answer(mark.status)
	}
	return ok
}

// label writes what the answer says about its way.
func (p *Proxy) label(h http.Header, a *ask, how outcome, tier, status string) {
	labelled(h, how, tier, status, a.started)
	if a.key != "" && a.in.Header.Get("X-Cache-Debug") == "1" && (how != passed || a.entitled()) {
		h.Set("X-Cache-Key", a.key)
	}
}

func labelled(h http.Header, how outcome, tier, status string, started time.Time) {
	h["X-Cache"] = []string{how.String()}
	h["X-Cache-Tier"] = []string{tier}
	h["Cache-Status"] = []string{status}
	ms := strconv.FormatFloat(float64(time.Since(started).Microseconds())/1000, 'f', 3, 64)
	h["Server-Timing"] = append(h["Server-Timing"][:len(h["Server-Timing"]):len(h["Server-Timing"])], "cache;dur="+ms)
}

// write labels an answer that is passed through.
func (m *passMark) write(h http.Header, status int) {
	m.status = status
	m.stop()
	forward := "bypass"
	if m.outcome == bypassed {
		forward = "request"
	}
	s := cacheStatus{reason: m.reason, status: status}
	labelled(h, m.outcome, upstreamTier, s.forward(forward), m.started)
	if m.key != "" {
		h.Set("X-Cache-Key", m.key)
	}
}

// entry is Cache-Status for a stored answer.
func (s cacheStatus) entry(e *store.Entry, how outcome, tier string, now time.Time) string {
	b := make([]byte, 0, 96)
	ttl := int64(e.TTL(now) / time.Second)
	switch how {
	case hit:
		b = append(b, "warmfront; hit"...)
	case stale:
		b = append(b, "warmfront; hit"...)
		ttl = min(ttl, 0)
	case refreshed:
		b = append(b, "warmfront; fwd=request; stored"...)
	default:
		b = append(b, "warmfront; fwd=miss; stored"...)
	}
	if s.collapsed {
		b = append(b, "; collapsed"...)
	}
	b = append(b, "; ttl="...)
	b = strconv.AppendInt(b, ttl, 10)
	b = append(b, "; detail="...)
	switch {
	case e.Provisional != "":
		b = append(b, "provisional-"...)
		b = append(b, e.Provisional...)
	case s.reason != "":
		b = append(b, s.reason...)
	default:
		b = append(b, tier...)
	}
	return string(b)
}

// forward is Cache-Status for an answer that came from the server and is not kept.
func (s cacheStatus) forward(why string) string {
	var b strings.Builder
	b.WriteString("warmfront; fwd=" + why)
	if s.status != 0 {
		b.WriteString("; fwd-status=" + strconv.Itoa(s.status))
	}
	if s.collapsed {
		b.WriteString("; collapsed")
	}
	if s.reason != "" {
		b.WriteString("; detail=" + s.reason)
	}
	return b.String()
}

// writeError answers in the server's own form of an error.
func writeError(w http.ResponseWriter, status int, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":`+strconv.Quote(message)+`}`)
}
