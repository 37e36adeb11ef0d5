package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/keying/rule"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// behindTTL is for how long an answer is kept that ends before the data does: the server computed
// it from bars that it loaded before the sync (contract, trap 5).
const behindTTL = 10 * time.Minute

// judge makes an entry of an answer that may be stored by what it says itself; otherwise it gives
// the reason why not (interface page, "Stored").
func (p *Proxy) judge(ctx context.Context, a *ask, raw *rawAnswer) (*store.Entry, string) {
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
	verdict, err := a.request.Judge(plain, a.revisions...)
	if err != nil {
		p.log.Debug("not stored", zap.String("route", a.route.Name), zap.Error(err))
		return nil, "no-success"
	}
	sum := sha256.Sum256(plain)
	e := &store.Entry{
		Key: a.key, Status: raw.status, Header: storedHeader(raw.header), Body: bytes.Clone(raw.body), Gzip: raw.gzip,
		Length: len(plain), Digest: hex.EncodeToString(sum[:16]), StoredAt: time.Now(),
		Fresh: p.cfg.CacheTTL, Stale: p.cfg.StaleTTL, Open: p.opens(a),
		Spelling: a.request.Spelling(a.revisions),
	}
	bound(e, freshnessOf(raw.header, e.StoredAt))
	if reason := p.shorten(ctx, a, e, verdict, plain); reason != "" {
		return nil, reason
	}
	if a.remembersBatches() && !p.isOnDisk(ctx, a, plain) {
		return nil, "batch-memory"
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
	coding := raw.header.Get("Content-Encoding")
	switch {
	case raw.broken != nil:
		return "broken-off"
	case raw.rest != nil:
		return "too-large"
	case raw.status != http.StatusOK:
		return "status"
	case !isJSON(raw.header):
		return "not-json"
	case len(raw.header["Set-Cookie"]) > 0:
		return "set-cookie"
	case freshnessOf(raw.header, time.Now()).refused:
		return "cache-control"
	case variesFor(raw.header):
		return "vary"
	case coding != "" && !raw.gzip && !strings.EqualFold(coding, "identity"):
		return "coding"
	}
	return ""
}

// bound keeps an entry for no longer than the server allows.
func bound(e *store.Entry, f freshness) {
	if f.limited {
		e.Fresh = min(e.Fresh, f.fresh)
	}
	if f.strict {
		e.Stale = 0
	}
}

// isJSON reports whether the answer says that it is JSON.
func isJSON(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "application/json"
}

// shorten makes an entry provisional that may not be the last word: it is then neither served after its
// short time, nor stale. The reason is why it may not be kept at all.
func (p *Proxy) shorten(ctx context.Context, a *ask, e *store.Entry, v keying.Verdict, plain []byte) (reason string) {
	behind := v.LastDate != "" && v.LastDate < a.data.Date && !rule.Off(rule.BehindShort)
	if a.request.Forced() != nil {
		p.fills.ran(ctx, a.data.Generation(), a.request.Bot, a.request.Variant, v.Cached, !behind)
	}
	if v.Cached && a.request.Forced() != nil && !a.forced && !a.data.Begun && v.CachedAt < a.data.BegunAt.Add(skewMargin).UnixMilli() && !rule.Off(rule.ForeignForced) {
		return unknownRow
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
	case a.data.Unproven != "" && a.route.NeedsPrices():
		e.Provisional, e.Fresh, e.Stale = "prices-unproven", min(e.Fresh, behindTTL), 0
	case v.Cached:
		e.Provisional, e.Fresh, e.Stale = "server-cached", min(e.Fresh, behindTTL), 0
	case a.request.NeedsTables() && p.tablesStale(ctx, a, plain):
		e.Provisional, e.Fresh, e.Stale = "tables-stale", min(e.Fresh, behindTTL), 0
	case !fresh:
		e.Provisional, e.Fresh, e.Stale = "bars-unproven", min(e.Fresh, behindTTL), 0
	case a.cutOff || p.board.CutOff():
		// Nothing of what was kept meanwhile outlives for long what another replica has to tell of it.
		e.Provisional, e.Fresh, e.Stale = "redis-away", min(e.Fresh, behindTTL), 0
	}
	return ""
}

// unknownRow is the reason not to keep what comes from a row that the server made before Warmfront looked.
const unknownRow = "unknown-row"

// skewMargin covers the distance between our clock and the server's.
const skewMargin = 2 * time.Second

const (
	// batchMemory is for how long the server remembers batch candles (contract, trap 5).
	batchMemory = 31 * time.Minute
	// maxOnDisk bounds the tickers that are looked up to see whether a batch is of now.
	maxOnDisk = 12
)

// looksAtRows notes which rows the server has of the bots that the answer is about, before it is asked for.
func (p *Proxy) looksAtRows(ctx context.Context, a *ask) {
	bots := a.request.Present(a.revisions)
	if (a.request.NeedsRows() || a.data.Begun && !a.data.Cleared) && a.request.Forced() == nil && len(bots) > 0 {
		a.rowsMade, a.rowsFresh = p.fills.rowsOf(ctx, a.data.Generation(), bots)
	}
}

// provenance tells what the server can have made the answer from, after a change of the data: rows that
// were all made since, and bars as new as the data. Where it can't be told, they are taken not to be. An
// answer that shows dates speaks for its own bars.
//
// A correlation doesn't say which rows it is made of. A sync that was over before Warmfront looked may have left
// some behind, and so may a correlation that was under way when the server was cleared: it puts them there afterwards.
func (p *Proxy) provenance(a *ask, v keying.Verdict) (made, fresh bool) {
	changed := a.data.Begun && !a.data.Cleared
	switch {
	case rule.Off(rule.RowsProven):
		return true, true
	case a.request.NeedsRows():
		return a.rowsMade || !changed, a.rowsFresh
	case !changed:
		return true, true
	case v.Cached && v.CachedAt < a.data.BegunAt.Add(skewMargin).UnixMilli():
		return false, false
	case v.LastDate != "":
		return true, true
	}
	return true, a.rowsFresh && len(a.request.Bots) > 0
}

// remembersBatches reports whether the server may answer a batch of candles from before the data moved: for
// half an hour it does, whatever an admin clears.
func (a *ask) remembersBatches() bool {
	return a.route.Name == "candles-batch" && a.data.Begun && time.Since(a.data.BegunAt) < batchMemory && !rule.Off(rule.RowsProven)
}

// isOnDisk compares a batch with what the server reads from disk, ticker by ticker; a large one is not.
func (p *Proxy) isOnDisk(ctx context.Context, a *ask, batch []byte) bool {
	var said struct {
		Results map[string]json.RawMessage `json:"results"`
	}
	if keying.ReadJSON(batch, &said) != nil || len(said.Results) > maxOnDisk {
		return false
	}
	for ticker, candles := range said.Results {
		status, body, err := p.client.Ask(ctx, http.MethodGet, "/api/candles/"+url.PathEscape(ticker)+"?limit="+strconv.Itoa(a.request.Limit), nil)
		var single struct {
			Candles json.RawMessage `json:"candles"`
		}
		if err != nil || status != http.StatusOK || keying.ReadJSON(body, &single) != nil || !bytes.Equal(single.Candles, candles) {
			return false
		}
	}
	return true
}

// changed looks whether what the key says still holds now that the answer is here; otherwise the
// answer is of nobody knows which state, and is not kept.
func (p *Proxy) changed(ctx context.Context, a *ask) (reason string) {
	if !a.sure {
		return "unsure"
	}
	if len(a.request.Bots) > 0 {
		limited, cancel := context.WithTimeout(ctx, p.timeLeft(a))
		defer cancel()
		after, err := p.revisions.Fetch(limited, a.bots)
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
	if a.request.Today && day(a.started.Add(-skewMargin)) != day(time.Now()) {
		return "day-changed" // the server may have come to it later than we
	}
	now, sure := p.data.Current()
	uses := usesOf(a.request)
	if (!sure || now.GenerationFor(uses, a.request.Bots) != a.data.GenerationFor(uses, a.request.Bots)) && !rule.Off(rule.DataAfter) {
		return "data-changed"
	}
	return ""
}

// day is the date in UTC, as the server has it.
func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }

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
