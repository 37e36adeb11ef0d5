// Package keying turns a request that Warmfront intercepts into the key of its answer: everything that
// the answer depends on, in one canonical spelling, and nothing else. Two requests that mean the same
// share a key, two that could be answered differently never do; what can't be decided is not keyed.
//
// Canonical is RFC 8785 but for the order of names, which is kept as sent where the server minds it (see
// arrange), and for the ids in a strategy, which are numbered (see spell).
//
// The package knows neither HTTP servers nor stores: it is handed a method, a path, a query, a body,
// the revisions of the bots named and the date of the data, and gives keys and verdicts. Section and
// trap numbers in comments are those of the upstream contract.
package keying

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A Kind is the first part of a key: what sort of answer it is.
type Kind string

// The kinds, as the interface names them.
const (
	Backtest    Kind = "backtest"
	Sanity      Kind = "sanity"
	Correlation Kind = "correlation"
	Indicators  Kind = "indicators"
	Benchmarks  Kind = "benchmarks"
	Candles     Kind = "candles"
)

// IDs says how the ids inside a strategy are keyed.
type IDs int

const (
	// ByOrder renames ids to their order of first appearance (trap 2).
	ByOrder IDs = iota
	// Exact keeps ids as spelled: what the audit falls back to when it finds that an id mattered.
	Exact
)

// ErrNotKeyed is what every error of [Route.Parse] wraps: the request goes to the upstream as it is.
var ErrNotKeyed = errors.New("keying: request is not keyed")

// NotKeyed says why a request has no key. It never quotes the request (trap 14). Reason is one of path,
// query, body, json, duplicate-name, nesting, number, size, payload, bots, tickers, limit.
type NotKeyed struct {
	Reason string // a short token, fit for the detail parameter of Cache-Status (RFC 9211, section 2.8)
	Err    error  // the long form
}

func (e *NotKeyed) Error() string {
	return fmt.Sprintf("%v (%s): %v", ErrNotKeyed, e.Reason, e.Err)
}

// Unwrap lets errors.Is find both ErrNotKeyed and the cause.
func (e *NotKeyed) Unwrap() []error { return []error{ErrNotKeyed, e.Err} }

// A fault is what is wrong with a text, whatever the text is for.
type fault struct{ reason, detail string }

func (f *fault) Error() string { return f.detail }

func faulty(reason, format string, args ...any) error {
	return &fault{reason, fmt.Sprintf(format, args...)}
}

// A Request is an intercepted request whose meaning is known.
type Request struct {
	Route   *Route
	Bot     string   // the bot in the path, decoded; "" when there is none
	Bots    []string // the saved bots the answer depends on, as named, in order
	Tickers []string // benchmarks and candles: the tickers asked for, in order
	Limit   int      // candles-batch: how many candles of each ticker
	Refresh bool     // run-backtest: forceRefresh was exactly true
	Today   bool     // the answer depends on today's UTC date (a correlation period other than "full")

	// Benchmark and Variant describe a run-backtest. Benchmark is the benchmarkTicker that counts: the
	// server's own cache key forgets it (trap 6). Variant spells mode, costs and benchmark: an answer of
	// another variant leaves other saved metrics behind (trap 7).
	Benchmark string
	Variant   string

	meaning []byte // canonical JSON of what the request itself says
	ids     IDs
	in      *input // what meaning was spelled from
	forced  []byte
	asked   asked
	uses    []string // tickers that the strategy or the conditions in the body name
}

// NeedsMetrics reports whether the answer depends on the saved metrics of the bots.
func (q *Request) NeedsMetrics() bool { return q.Route.parts&metricsPart != 0 }

// NeedsTables reports whether the answer depends on the benchmark tables that the server loads once in its
// life (trap 5).
func (q *Request) NeedsTables() bool { return q.Route.Kind == Benchmarks || q.Route.Kind == Sanity }

// NeedsPrices reports whether answers depend on prices that the server holds in its memory, and not on its
// files or tables only (traps 5 and 16). Candles in batches it remembers by ticker, apart from those.
func (r *Route) NeedsPrices() bool { return r.Kind != Candles && r.Kind != Benchmarks }

// NeedsRows reports whether the server may build the answer from what it keeps of earlier runs of the bots
// without saying so.
func (q *Request) NeedsRows() bool { return q.Route.Kind == Correlation }

// Data is the state of the price data, and whatever else outside the request an answer belongs to.
type Data struct {
	Date       string // newest candle of the canaries, YYYY-MM-DD
	Generation string // counts every observed change of data (trap 3)
	Epoch      string // EPOCH of the configuration
	Today      string // YYYY-MM-DD in UTC; counts when Request.Today
}

// Key is the request's key: "<kind>:<bot>:<sha256>:<date>", where bot is the escaped bot id or "-" and the
// hash is over the canonical form of the route, the request's meaning, the revision parts that count for
// the route, and the data. revs is parallel to q.Bots.
func (q *Request) Key(revs []Revision, d Data) (string, error) {
	if !isDate(d.Date) {
		return "", fmt.Errorf("keying: data date %q is not YYYY-MM-DD", d.Date)
	}
	if q.Today && !isDate(d.Today) {
		return "", fmt.Errorf("keying: today %q is not YYYY-MM-DD", d.Today)
	}
	if len(revs) != len(q.Bots) {
		return "", fmt.Errorf("keying: %d revisions for %d bots", len(revs), len(q.Bots))
	}
	head, tail, err := q.envelope(revs, d)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(head)
	h.Write(q.meaning)
	h.Write(tail)
	sum := hex.EncodeToString(h.Sum(nil))
	return string(q.Route.Kind) + ":" + escapeBot(q.Bot) + ":" + sum + ":" + d.Date, nil
}

// envelope is what surrounds the meaning in the hashed object: members sorted by name, as RFC 8785
// section 3.2.3 asks, and the meaning between "data" and "revisions".
func (q *Request) envelope(revs []Revision, d Data) (head, tail []byte, err error) {
	data := object("date", text(d.Date), "epoch", text(d.Epoch), "generation", text(d.Generation))
	if q.Today {
		data.set("today", text(d.Today))
	}
	for _, s := range []string{d.Epoch, d.Generation} {
		if !utf8.ValidString(s) {
			return nil, nil, errors.New("keying: epoch and generation must be UTF-8")
		}
	}
	list := value{kind: '['}
	for i, rev := range revs {
		if rev.Absent() && q.Route.Kind != Correlation {
			return nil, nil, fmt.Errorf("keying: bot %d of %d is absent", i+1, len(revs))
		}
		parts := value{kind: '['}
		for _, part := range rev.counting(q.Route.parts, q.ids) {
			if part == "" || !utf8.ValidString(part) {
				return nil, nil, fmt.Errorf("keying: the revision of bot %d of %d lacks a part that %s depends on", i+1, len(revs), q.Route.Name)
			}
			parts.push(text(part))
		}
		list.push(parts)
	}
	head = append(head, `{"data":`...)
	head = data.append(head)
	head = append(head, `,"meaning":`...)
	tail = append(tail, `,"revisions":`...)
	tail = list.append(tail)
	tail = append(tail, `,"route":`...)
	tail = text(q.Route.Name).append(tail)
	return head, append(tail, '}'), nil
}

// Forced is the body of a run-backtest with forceRefresh set, which makes the server compute afresh
// (traps 5 and 6); nil for every other route, where the server has no such switch.
func (q *Request) Forced() []byte { return q.forced }

// Spelling tells requests apart that share a key because only the ids in their strategies differ: it is
// a hash over the request and the revisions of its bots with every id as spelled. revs is parallel to
// q.Bots.
func (q *Request) Spelling(revs []Revision) string {
	said := mean(q, q.in, Exact)
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(said), said)
	for _, rev := range revs {
		fmt.Fprintf(h, "\n%q", rev.Exact)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// maxBot is how long an escaped bot id may be in a key; a longer one is named by its hash.
const maxBot = 200

// escapeBot spells a bot id so that it can't reach into another part of a key: everything but
// [A-Za-z0-9_.-] is percent-encoded byte by byte. "-" alone would mean "no bot". "~" is always
// escaped in an id, so the hash of a long one, marked by it, can't be the spelling of another.
func escapeBot(id string) string {
	switch id {
	case "":
		return "-"
	case "-":
		return "%2D"
	}
	var b strings.Builder
	for i := 0; i < len(id); i++ {
		if c := id[i]; alphanumeric(c) || c == '_' || c == '.' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > maxBot {
		return "~" + hash([]byte(id))
	}
	return b.String()
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil && len(s) == len(time.DateOnly)
}
