package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"warmfront/keying/rule"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

var errUpstreamTimeout = errors.New("the upstream's answer did not come in time")

// result is what a flight brings to all who wait for it: an entry (stored, or found in Redis), an
// answer that was not stored and why, or an error.
type result struct {
	entry  *store.Entry
	tier   string
	shared <-chan bool // of an entry that is new: gives, once, whether it is in Redis

	answer *rawAnswer
	reason string

	err  error
	took time.Duration
}

// rawAnswer is an answer of the server that is not kept. Exactly one of its ends is told by rest
// (there is more to read, for one reader) and broken (it broke off).
type rawAnswer struct {
	status  int
	header  http.Header // end-to-end fields, as received
	gzip    bool
	body    []byte
	length  int64 // as announced; -1 when it was not
	rest    io.ReadCloser
	claimed atomic.Bool
	broken  error
}

// fill asks the server, and keeps the answer if every rule for keeping it holds.
func (p *Proxy) fill(ctx context.Context, a *ask) *result {
	p.looksAtRows(ctx, a)
	started := time.Now()
	raw, err := p.ask(ctx, a)
	a.spent += time.Since(started)
	if err != nil {
		return &result{err: err, took: time.Since(started)}
	}
	out := &result{answer: raw, tier: upstreamTier, took: time.Since(started)}
	p.metrics.upstream(a.route, out.took)
	p.noted(ctx, a, raw.status)
	if raw.status/100 == 2 && variesAsUsual(raw.header) {
		p.origins.Learn(a.origin, raw.header)
	}
	e, reason := p.judge(ctx, a, raw)
	if reason == unknownRow {
		// Who made it, and against which benchmark, can't be told: the server is to compute it.
		a.afresh = true
		return p.fill(ctx, a)
	}
	if e != nil {
		reason = p.changed(ctx, a)
	}
	p.outdates(ctx, a)
	if reason != "" {
		out.reason = reason
		return out
	}
	out.entry, out.shared = e, p.keep(e)
	return out
}

// outdates is called when an answer about bots is here. If the data has moved since it was asked for, the server has
// made the rows of those bots from the data before, whatever was known of them.
func (p *Proxy) outdates(ctx context.Context, a *ask) {
	if now, _ := p.data.Current(); now != nil && len(a.request.Bots) > 0 && now.Generation() != a.data.Generation() {
		p.fills.doubt(ctx, now.Generation(), a.request.Bots)
	}
}

// ask makes the call. A run of a saved bot leaves metrics behind (contract, trap 7): it is a write of
// them, which may yet come when the answer does not.
func (p *Proxy) ask(ctx context.Context, a *ask) (raw *rawAnswer, err error) {
	if p.timeLeft(a) <= 0 {
		return nil, errUpstreamTimeout
	}
	if a.request.Forced() != nil {
		if a.request.Benchmark != "SPY" {
			p.runsForeign(ctx, a.request.Bot)
		}
		write := p.board.Begin(ctx, board.Subject{Class: board.Metrics, Name: a.request.Bot})
		defer func() { write.End(err == nil && raw.broken == nil) }()
	}
	res, err := p.call(ctx, a)
	if err != nil {
		return nil, err
	}
	return p.receive(res), nil
}

// call sends the request on its way and gives the answer once its header is here. The answer's body
// is bounded in silence, not in length: no byte for UPSTREAM_TIMEOUT ends it.
func (p *Proxy) call(ctx context.Context, a *ask) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(p.timeLeft(a), func() { cancel(errUpstreamTimeout) })
	defer p.computes(a, a.data)
	res, err := p.transport.RoundTrip(p.outgoing(ctx, a))
	if err != nil {
		timer.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errUpstreamTimeout) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	res.Body = &patientBody{ReadCloser: res.Body, timer: timer, patience: p.cfg.UpstreamTimeout, cancel: cancel}
	return res, nil
}

// timeLeft is what is left of UPSTREAM_TIMEOUT: a server that hangs is waited for once, whatever it is asked.
func (p *Proxy) timeLeft(a *ask) time.Duration { return p.cfg.UpstreamTimeout - a.spent }

// computes is called when the server has computed an answer that it was asked for when begun was known of the data.
func (p *Proxy) computes(a *ask, begun *upstream.DataState) {
	if begun != nil && a.route.NeedsPrices() {
		p.data.Outlived(context.WithoutCancel(a.in.Context()), begun)
	}
}

// outgoing is the request as the server gets it: the client's end-to-end fields, but complete (no conditions, no
// ranges), with gzip for its only coding, and repeatable. What its body is, is ours to say.
func (p *Proxy) outgoing(ctx context.Context, a *ask) *http.Request {
	body := a.body
	if p.mustForce(a) {
		body, a.forced = a.request.Forced(), true
	}
	h := a.sent.Clone()
	a.writeBodyFields(h)
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
		"If-Range", "Range", "Expect", "Content-Length", p.cfg.BypassHeader} {
		h.Del(name)
	}
	h["Accept-Encoding"] = []string{"gzip"}
	forwardedFields(h, a.in)
	// An empty value makes net/http repeat the request on a dead connection without sending the
	// field. Only computations come this way, never what places orders (contract, trap 13).
	h["Idempotency-Key"] = []string{}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // keeps net/http from naming itself
	}
	out := &http.Request{
		Method: a.in.Method, Host: a.in.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{
			Scheme: p.cfg.UpstreamURL.Scheme, Host: p.cfg.UpstreamURL.Host,
			Path: a.in.URL.Path, RawPath: a.in.URL.RawPath, RawQuery: a.in.URL.RawQuery,
		},
	}
	if a.in.Method != http.MethodGet {
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
		if len(body) == 0 {
			out.Body = http.NoBody
		}
	}
	return out.WithContext(ctx)
}

// writeBodyFields has the server read the body as it was keyed: as JSON in UTF-8, whatever the client's own words for that
// (contract, trap 25).
func (a *ask) writeBodyFields(h http.Header) {
	switch {
	case a.in.Method == http.MethodGet:
		delete(h, "Content-Type")
	case !rule.Off(rule.ContentTypeSent) || a.forced:
		h["Content-Type"] = []string{"application/json"}
	}
	delete(h, "Content-Encoding")
}

// mustForce reports whether the server must compute afresh, because the row that it caches for the bot
// may belong to another benchmark (its key forgets benchmarkTicker: contract, trap 6), or may mix old and
// new prices: it was made before this generation of the data began (trap 5).
func (p *Proxy) mustForce(a *ask) bool {
	if a.request.Forced() == nil {
		return false
	}
	bot, variant := a.request.Bot, a.request.Variant
	if a.afresh || a.cutOff {
		return true // of runs against other benchmarks on other replicas nothing is heard
	}
	if a.request.Benchmark != "SPY" {
		return !rule.Off(rule.ForeignForced)
	}
	if p.fills.isDoubtful(bot, variant) && !rule.Off(rule.ForeignForced) {
		return true
	}
	return a.data.Begun && p.fills.isFirst(a.data.Generation(), bot, variant) && !rule.Off(rule.FirstForced)
}

// runsForeign has every replica know that the bot's row at the server may be about to become one of another
// benchmark, before it does.
func (p *Proxy) runsForeign(ctx context.Context, bot string) {
	if p.fills.hasForeign(bot) {
		p.board.Begin(ctx, board.Subject{Class: board.Foreign, Name: bot}).End(true)
	}
}

// receive takes the body in up to MAX_ENTRY; of a longer one, the rest is left to be streamed.
func (p *Proxy) receive(res *http.Response) *rawAnswer {
	raw := &rawAnswer{status: res.StatusCode, header: res.Header, length: res.ContentLength}
	dropHopByHop(raw.header)
	raw.gzip = strings.EqualFold(raw.header.Get("Content-Encoding"), "gzip")
	limit := int64(p.cfg.MaxEntry)
	var buf bytes.Buffer
	if raw.length > 0 && raw.length <= limit {
		buf.Grow(int(raw.length) + bytes.MinRead)
	}
	n, err := io.Copy(&buf, io.LimitReader(res.Body, limit+1))
	raw.body = buf.Bytes()
	switch {
	case err != nil:
		raw.broken = err
	case n > limit:
		raw.rest = res.Body
		return raw
	}
	res.Body.Close()
	return raw
}

// keep stores e in both tiers, and has it told whether Redis has it.
func (p *Proxy) keep(e *store.Entry) (shared <-chan bool) {
	told := make(chan bool, 1)
	if e.Fresh+e.Stale <= 0 {
		told <- false // in Redis it would stay for ever
		return told
	}
	p.memory.Set(e)
	if p.redis == nil {
		told <- false
		return told
	}
	p.redis.Set(e, func(err error) {
		if err != nil {
			p.metrics.redisErrors.WithLabelValues("set").Inc()
		}
		told <- err == nil
	})
	return told
}

// patientBody ends an answer that falls silent.
type patientBody struct {
	io.ReadCloser
	timer    *time.Timer
	patience time.Duration
	cancel   context.CancelCauseFunc
}

func (b *patientBody) Read(buf []byte) (int, error) {
	b.timer.Reset(b.patience)
	return b.ReadCloser.Read(buf)
}

func (b *patientBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
