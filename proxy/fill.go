package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/keying/rule"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// behindTTL is for how long an answer is kept that ends before the data does: the server computed
// it from bars that it loaded before the sync (contract, trap 5).
const behindTTL = 10 * time.Minute

var errUpstreamTimeout = errors.New("the upstream's answer did not come in time")

// result is what a flight brings to all who wait for it: an entry (stored, or found in Redis), an
// answer that was not stored and why, or an error.
type result struct {
	entry *store.Entry
	tier  string

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
	started := time.Now()
	raw, err := p.ask(ctx, a)
	if err != nil {
		return &result{err: err, took: time.Since(started)}
	}
	out := &result{answer: raw, tier: upstreamTier, took: time.Since(started)}
	p.metrics.upstream(a.route, out.took)
	p.noted(ctx, a, raw.status)
	e, reason := p.judge(a, raw)
	if e != nil {
		// The CORS fields are the asking origin's: learned here, kept out of the entry.
		p.origins.Learn(a.origin, raw.header)
		reason = p.changed(ctx, a)
	}
	if reason != "" {
		out.reason = reason
		return out
	}
	p.keep(e)
	out.entry = e
	return out
}

// ask makes the call. A run of a saved bot leaves metrics behind (contract, trap 7): it is a write of
// them, which may yet come when the answer does not.
func (p *Proxy) ask(ctx context.Context, a *ask) (raw *rawAnswer, err error) {
	if a.request.Forced() != nil {
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
	timer := time.AfterFunc(p.cfg.UpstreamTimeout, func() { cancel(errUpstreamTimeout) })
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

// outgoing is the request as the server gets it: the client's, but complete (no conditions, no
// ranges), with gzip for its only coding, and repeatable.
func (p *Proxy) outgoing(ctx context.Context, a *ask) *http.Request {
	body := a.body
	if p.mustForce(a) {
		body = a.request.Forced()
	}
	h := a.in.Header.Clone()
	dropHopByHop(h)
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

// mustForce reports whether the server must compute afresh, because the row that it caches for the bot
// may belong to another benchmark (its key forgets benchmarkTicker: contract, trap 6), or may mix old and
// new prices: it was made before this generation of the data began (trap 5).
func (p *Proxy) mustForce(a *ask) bool {
	if a.request.Forced() == nil {
		return false
	}
	bot, variant := a.request.Bot, a.request.Variant
	if a.request.Benchmark != "SPY" {
		p.fills.hasForeign(bot)
		return !rule.Off(rule.ForeignForced)
	}
	if p.fills.isDoubtful(bot, variant) && !rule.Off(rule.ForeignForced) {
		return true
	}
	return a.data.Begun && p.fills.isFirst(a.data.Generation(), bot, variant) && !rule.Off(rule.FirstForced)
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

// judge makes an entry of an answer that may be stored by what it says itself; otherwise it gives
// the reason why not (interface page, "Stored").
func (p *Proxy) judge(a *ask, raw *rawAnswer) (*store.Entry, string) {
	if reason := refusal(raw); reason != "" {
		if reason == "too-large" {
			p.large.add(a.key)
		}
		return nil, reason
	}
	plain := raw.body
	if raw.gzip {
		var err error
		if plain, err = gunzip(raw.body, int64(p.cfg.MaxEntry)); errors.Is(err, errTooLong) {
			p.large.add(a.key)
			return nil, "too-large"
		} else if err != nil {
			return nil, "bad-coding"
		}
	}
	verdict, err := a.request.Judge(plain)
	if err != nil {
		p.log.Debug("not stored", zap.String("route", a.route.Name), zap.Error(err))
		return nil, "no-success"
	}
	sum := sha256.Sum256(plain)
	e := &store.Entry{
		Key: a.key, Status: raw.status, Header: storedHeader(raw.header), Body: bytes.Clone(raw.body), Gzip: raw.gzip,
		Length: len(plain), Digest: hex.EncodeToString(sum[:16]), StoredAt: time.Now(),
		Fresh: p.cfg.CacheTTL, Stale: p.cfg.StaleTTL, Open: len(credentials(a.in.Header)) == 0,
		Spelling: a.request.Spelling(a.revisions),
	}
	if reason := p.shorten(a, e, verdict); reason != "" {
		return nil, reason
	}
	if !e.Gzip && len(e.Body) >= compressFrom {
		if z, err := compress(e.Body); err == nil && len(z) < len(e.Body) {
			e.Body, e.Gzip = z, true
		}
	}
	return e.Prepare(), ""
}

// refusal looks at everything but the body's meaning.
func refusal(raw *rawAnswer) string {
	media, _, _ := mime.ParseMediaType(raw.header.Get("Content-Type"))
	coding := raw.header.Get("Content-Encoding")
	switch {
	case raw.broken != nil:
		return "broken-off"
	case raw.rest != nil:
		return "too-large"
	case raw.status != http.StatusOK:
		return "status"
	case media != "application/json":
		return "not-json"
	case len(raw.header["Set-Cookie"]) > 0:
		return "set-cookie"
	case isPrivate(raw.header):
		return "cache-control"
	case coding != "" && !raw.gzip && !strings.EqualFold(coding, "identity"):
		return "coding"
	}
	return ""
}

// isPrivate reports whether Cache-Control forbids a shared cache to store (RFC 9111, section 3).
func isPrivate(h http.Header) bool {
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if strings.EqualFold(name, "no-store") || strings.EqualFold(name, "private") {
				return true
			}
		}
	}
	return false
}

// shorten makes an entry provisional that may not be the last word: it is then neither served after its
// short time, nor stale. The reason is why it may not be kept at all.
func (p *Proxy) shorten(a *ask, e *store.Entry, v keying.Verdict) (reason string) {
	behind := v.LastDate != "" && v.LastDate < a.data.Date && !rule.Off(rule.BehindShort)
	if a.request.Forced() != nil {
		p.fills.ran(a.data.Generation(), a.request.Bot, a.request.Variant, v.Cached, !behind)
	}
	made, fresh := p.provenance(a, v)
	switch {
	case !made:
		return "rows-older"
	case a.data.Provisional:
		e.Provisional, e.Fresh, e.Stale = "settling", min(e.Fresh, p.cfg.ProvisionalTTL), 0
	case behind:
		e.Provisional, e.Fresh, e.Stale = "behind-data", min(e.Fresh, behindTTL), 0
		p.metrics.behind.Inc()
	case v.Cached:
		e.Provisional, e.Fresh, e.Stale = "server-cached", min(e.Fresh, behindTTL), 0
	case !fresh:
		e.Provisional, e.Fresh, e.Stale = "bars-unproven", min(e.Fresh, behindTTL), 0
	}
	return ""
}

// skewMargin covers the distance between our clock and the server's.
const skewMargin = 2 * time.Second

// batchMemory is for how long the server remembers batch candles (contract, trap 5).
const batchMemory = 31 * time.Minute

// provenance tells what the server can have made the answer from, after a change of the data: rows that
// were all made since, and bars as new as the data. Where it can't be told, they are taken not to be. An
// answer that shows dates speaks for its own bars.
func (p *Proxy) provenance(a *ask, v keying.Verdict) (made, fresh bool) {
	if !a.data.Begun || a.data.Cleared || rule.Off(rule.RowsProven) {
		return true, true
	}
	made, fresh = p.fills.rowsOf(a.data.Generation(), a.request.Bots)
	switch {
	case a.request.NeedsRows():
		return made, fresh
	case v.Cached && v.CachedAt < a.data.BegunAt.Add(skewMargin).UnixMilli():
		return false, false
	case v.LastDate != "" && a.route.Name != "candles-batch":
		return true, true
	case v.LastDate != "":
		return true, time.Since(a.data.BegunAt) > batchMemory
	}
	return true, fresh && len(a.request.Bots) > 0
}

// changed looks whether what the key says still holds now that the answer is here; otherwise the
// answer is of nobody knows which state, and is not kept.
func (p *Proxy) changed(ctx context.Context, a *ask) (reason string) {
	if !a.sure {
		return "unsure"
	}
	if len(a.request.Bots) > 0 {
		after, err := p.revisions.Fetch(ctx, a.bots)
		if err != nil {
			return "revision-unknown"
		}
		// The key holds just the parts of a revision that count: a run-backtest saves metrics itself.
		key, err := a.request.Key(masked(after), p.dataFor(a))
		epochs, still := p.revisions.Epochs(a.bots)
		if err != nil || key != a.key || !a.still || !still || !slices.Equal(epochs, a.epochs) {
			if !rule.Off(rule.RevisionAfter) {
				return "revision-changed"
			}
		}
	}
	now, sure := p.data.Current()
	if (!sure || now.GenerationFor(a.request.Bots) != a.data.GenerationFor(a.request.Bots)) && !rule.Off(rule.DataAfter) {
		return "data-changed"
	}
	return ""
}

// keep stores e in both tiers.
func (p *Proxy) keep(e *store.Entry) {
	p.memory.Set(e)
	if p.redis == nil {
		return
	}
	p.redis.Set(e, func(err error) {
		if err != nil {
			p.metrics.redisErrors.WithLabelValues("set").Inc()
		}
	})
}

// storedHeader is what of an answer's header is stored: the end-to-end fields, less those that
// belong to one origin or to one form of the body.
func storedHeader(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if upstream.IsCORS(name) {
			continue
		}
		switch name {
		case "Vary", "Content-Length", "Content-Encoding", "Etag", "Age", "Cache-Status", "Accept-Ranges", "Trailer":
			continue
		}
		kept[name] = values
	}
	return kept
}

// dropHopByHop removes what concerns one connection only (RFC 9110, section 7.6.1).
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
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
