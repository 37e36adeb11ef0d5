package warm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"warmfront/keying"
)

// An outcome is how a request of a run ended.
type outcome string

const (
	warmed      outcome = "warmed"      // computed and stored
	skipped     outcome = "skipped"     // was stored already
	provisional outcome = "provisional" // stored for a short time only: to be asked again
	gone        outcome = "gone"        // of a bot that is no more
	failed      outcome = "failed"
)

var outcomes = []outcome{warmed, skipped, provisional, gone, failed}

// A verdict is what an answer tells of the server.
type verdict int

const (
	answered  verdict = iota // it computed, for better or worse
	untouched                // it was not asked, or not for a computation
	troubled                 // it failed, was too slow, or can't be reached
)

// A request is one of a run's.
type request struct {
	id    string
	route string
	bot   string        // whose it is; "" for none
	bots  []string      // all that it depends on
	took  time.Duration // what it took the server last; 0 when that is not known
	worth float64       // for ordering
	last  bool          // of its group

	entry *Entry // where it is to be unpacked from; nil for one made here
	asked *asked
}

// answer is what came of asking once.
type answer struct {
	outcome outcome // "" when it is worth another try
	verdict verdict
	reason  string
	after   time.Duration // what a Retry-After asks for
}

const (
	// tries bounds how often one request is asked for, firstRetry and lastRetry how soon again.
	tries      = 4
	maxRefused = 20 // times that the server says "later" (429, 503): it did not try then
	firstRetry = 500 * time.Millisecond
	lastRetry  = 20 * time.Second
)

// prepare unpacks a request, and checks that it is what it says: nothing but the intercepted routes
// is ever replayed (contract, trap 13), whoever wrote the journal.
func (r *request) prepare() error {
	if r.asked == nil {
		a, err := unpack(r.entry.packed)
		if err != nil {
			return err
		}
		r.asked = a
	}
	id, err := r.asked.id()
	if err != nil {
		return err
	}
	if id != r.id {
		return fmt.Errorf("%w: its ID is another", errPacked)
	}
	return nil
}

// parse reads the request as it would be on its arrival.
func (a *asked) parse() (*keying.Request, error) {
	path, rawQuery, _ := strings.Cut(a.Target, "?")
	route, param, ok := keying.Match(a.Method, path)
	if !ok {
		return nil, fmt.Errorf("%w: no intercepted route", errPacked)
	}
	q, err := route.Parse(param, rawQuery, []byte(a.Body), keying.ByOrder)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	return q, nil
}

func (a *asked) id() (string, error) {
	q, err := a.parse()
	if err != nil {
		return "", err
	}
	return q.ID(), nil
}

// ask gets r answered, trying again as often as is sensible. The error is the context's; whatever
// else happens is an outcome.
func (p *pass) ask(ctx context.Context, r *request) (outcome, string, error) {
	retries := backoff.NewExponentialBackOff()
	retries.InitialInterval, retries.MaxInterval = firstRetry, lastRetry
	var a answer
	for n, refused := 0, 0; n < tries && refused < maxRefused; n++ {
		if err := p.gate.enter(ctx); err != nil {
			return "", "", err
		}
		began := time.Now()
		a = p.once(ctx, r)
		p.gate.leave(r, time.Since(began), a.verdict)
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		if a.outcome != "" {
			return a.outcome, a.reason, nil
		}
		wait := retries.NextBackOff()
		if a.after > 0 {
			p.gate.retryAfter(a.after)
			wait = 0 // the gate sees to it, for all
			n, refused = n-1, refused+1
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", "", context.Cause(ctx)
		}
	}
	if a.verdict == troubled {
		p.failures.Add(1)
	}
	return failed, a.reason, nil
}

// once sends r the way a user's request takes, for an answer that nobody reads: stored ones are compressed.
func (p *pass) once(ctx context.Context, r *request) answer {
	return p.send(ctx, r, "gzip", &discard{header: http.Header{}})
}

// sink is where an answer goes.
type sink interface {
	http.ResponseWriter
	said() int // the status
}

// send has r answered into w. A handler that gives up panics, as net/http has it.
func (p *pass) send(ctx context.Context, r *request, coding string, w sink) (a answer) {
	req, err := http.NewRequestWithContext(ctx, r.asked.Method, "http://"+p.host+r.asked.Target, io.NopCloser(bytes.NewReader([]byte(r.asked.Body))))
	if err != nil {
		return answer{outcome: failed, verdict: untouched, reason: "malformed"}
	}
	req.RequestURI, req.RemoteAddr = r.asked.Target, "127.0.0.1:0"
	req.ContentLength = int64(len(r.asked.Body))
	req.Header = http.Header{"User-Agent": {"warmfront"}, "Accept-Encoding": {coding}}
	if r.asked.Method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Body = http.NoBody
	}
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			a = answer{verdict: troubled, reason: "broken-off"}
		}
	}()
	p.handler.ServeHTTP(w, req)
	return judge(w.said(), w.Header())
}

// judge reads an outcome from what the answer says about its way (interface page, "Requests").
func judge(status int, h http.Header) answer {
	said := h.Get("Cache-Status")
	detail := detailOf(said)
	switch h.Get("X-Cache") {
	case "HIT":
		if strings.HasPrefix(detail, "provisional") {
			return answer{outcome: provisional, verdict: untouched, reason: detail}
		}
		return answer{outcome: skipped, verdict: untouched}
	case "STALE":
		return answer{verdict: troubled, reason: "upstream-down"}
	}
	switch {
	case status == http.StatusOK && strings.Contains(said, "; stored"):
		if strings.HasPrefix(detail, "provisional") {
			return answer{outcome: provisional, verdict: answered, reason: detail}
		}
		return answer{outcome: warmed, verdict: answered}
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return answer{verdict: troubled, reason: statusReason(status), after: retryAfter(h)}
	case status >= 500:
		return answer{verdict: troubled, reason: statusReason(status)}
	case status == http.StatusNotFound && strings.HasPrefix(h.Get("Content-Type"), "application/json"):
		return answer{outcome: gone, verdict: answered, reason: statusReason(status)}
	case status != http.StatusOK:
		return answer{outcome: failed, verdict: answered, reason: statusReason(status)}
	}
	switch detail {
	case "revision-changed", "data-changed", "unsure", "revision-unknown", "no-data-date":
		return answer{verdict: answered, reason: detail} // the next try may find it at rest
	}
	return answer{outcome: failed, verdict: answered, reason: orElse(detail, "not-stored")}
}

func statusReason(status int) string { return "status-" + strconv.Itoa(status) }

// detailOf is the detail parameter of Warmfront's own Cache-Status (RFC 9211, section 2.8).
func detailOf(status string) string {
	_, detail, _ := strings.Cut(status, "; detail=")
	detail, _, _ = strings.Cut(detail, ";")
	return detail
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110, section 10.2.3); a second when there is none.
func retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return min(time.Duration(seconds), maxRetryAfter/time.Second)*time.Second + time.Millisecond
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), time.Millisecond)
	}
	return firstPause
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// discard is where answers go.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(status int) {
	if d.status == 0 && status >= 200 {
		d.status = status
	}
}
func (d *discard) Write(b []byte) (int, error) { d.WriteHeader(http.StatusOK); return len(b), nil }
func (d *discard) Flush()                      {}
func (d *discard) said() int                   { return d.status }
