package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"warmfront/test/harness"
)

// counted is the sum of a counter over all its labels, as Warmfront's metrics show it.
func counted(t *testing.T, w *harness.Server, name string) int {
	t.Helper()
	sum := 0.0
	for line := range strings.Lines(string(body(t, get(t, w.URL+"/_warmfront/metrics")))) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if bare, _, _ := strings.Cut(series, "{"); bare != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		ok(t, err)
		sum += n
	}
	return int(sum)
}

// audits is what readyz tells of them.
type audits struct {
	Mismatches   int
	LastMismatch *struct{ Key, Route, Path, At string }
}

func audited(t *testing.T, w *harness.Server) audits {
	t.Helper()
	return parsed[struct{ Audit audits }](t, get(t, w.URL+"/_warmfront/readyz")).Audit
}

// mismatched waits for the number of mismatches.
func mismatched(t *testing.T, w *harness.Server, want int) {
	t.Helper()
	until(t, func() error {
		if got := counted(t, w, "warmfront_audit_mismatch_total"); got != want {
			return fmt.Errorf("%d mismatches, expected %d", got, want)
		}
		return nil
	})
}

// ended is the payload of a bot whose every id is new and ends in the same digit.
func ended(t *testing.T, up *harness.Upstream, bot, digit string) string {
	t.Helper()
	tree, err := up.Strategy(limit(t), bot)
	ok(t, err)
	n := 0
	var rename func(v any)
	rename = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, named := v["id"].(string); named {
				n++
				v["id"] = fmt.Sprintf("q%d-%s", n, digit)
			}
			for _, field := range v {
				rename(field)
			}
		case []any:
			for _, e := range v {
				rename(e)
			}
		}
	}
	rename(tree)
	b, err := json.Marshal(tree)
	ok(t, err)
	return string(b)
}

func TestAuditFindsThatIdsMatter(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"IDS_MATTER": "1"}), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1", "REDIS_URL": r.URL()})
	even := `{"payload":` + harness.Quote(ended(t, up, "bot-8", "0")) + `}`
	odd := `{"payload":` + harness.Quote(ended(t, up, "bot-8", "1")) + `}`
	right := map[string]string{even: curve(t, post(t, up.URL+"/api/backtest", even)), odd: curve(t, post(t, up.URL+"/api/backtest", odd))}
	if right[even] == right[odd] {
		t.Fatal("ids don't matter to this server: there is nothing to find")
	}

	filled := post(t, w.URL+"/api/backtest", even, "X-Cache-Debug: 1")
	expect(t, filled, 200, "X-Cache: MISS")
	expect(t, post(t, w.URL+"/api/backtest", odd), 200, "X-Cache: HIT") // taken for the same
	mismatched(t, w, 1)
	last := audited(t, w).LastMismatch
	if last == nil || last.Route != "backtest" || last.Path == "" || last.At == "" || last.Key != filled.Header.Get("X-Cache-Key") {
		t.Errorf("readyz tells of %+v", last)
	}
	for _, want := range []string{"MISS", "HIT"} {
		for _, asked := range []string{even, odd} {
			a := post(t, w.URL+"/api/backtest", asked)
			expect(t, a, 200, "X-Cache: "+want)
			if curve(t, a) != right[asked] {
				t.Fatalf("not the server's own answer\n%s", a)
			}
		}
	}
	// Nor is the wrong answer left for others.
	other := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	a := post(t, other.URL+"/api/backtest", odd)
	expect(t, a, 200, "X-Cache: HIT") // of the exact ids, as it was told at its start
	if curve(t, a) != right[odd] {
		t.Fatalf("not the server's own answer\n%s", a)
	}
	mismatched(t, w, 1)
}

func TestAuditFindsThatTheIdsOfASavedBotMatter(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"IDS_MATTER": "1"})
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1"})
	edit(t, up, up.URL, "bot-7", map[string]any{"payload": ended(t, up, "bot-7", "0")})
	old := post(t, w.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: MISS")
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": ended(t, up, "bot-7", "1")})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	until(t, func() error { // an audit right after the edit may be discarded for it
		if counted(t, w, "warmfront_audit_mismatch_total") == 1 {
			return nil
		}
		return fmt.Errorf("no mismatch yet\n%s", post(t, w.URL+runPath, `{}`))
	})
	a := post(t, w.URL+runPath, `{}`)
	expect(t, a, 200)
	if curve(t, a) == curve(t, old) || curve(t, a) != curve(t, post(t, up.URL+runPath, `{"forceRefresh":true}`)) {
		t.Fatalf("not the backtest of the bot as it is\n%s", a)
	}
	// From now on a saved bot's ids count, in both directions.
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": ended(t, up, "bot-7", "0")})
	a = post(t, w.URL+runPath, `{}`)
	if expect(t, a, 200); a.Header.Get("X-Cache") == "HIT" || curve(t, a) != curve(t, old) {
		t.Fatalf("not the backtest of the bot as it is\n%s", a)
	}
}

// auditedHits hits a call until it has been audited so many times more.
func auditedHits(t *testing.T, w *harness.Server, c harness.Call, times int) {
	t.Helper()
	want := counted(t, w, "warmfront_audits_total") + times
	until(t, func() error {
		a, err := harness.Send(limit(t), client(t), c.Request(w.URL))
		ok(t, err)
		expect(t, a, 200)
		if got := counted(t, w, "warmfront_audits_total"); got < want {
			return fmt.Errorf("%d audits, expected %d; %d were discarded\n%s", got, want, counted(t, w, "warmfront_audit_discarded_total"), a)
		}
		return nil
	})
}

func TestVolatileFieldsMakeNoMismatchOnAnyRoute(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{"sys", "app"} {
		t.Run(shape, func(t *testing.T) {
			up := ownUpstream(t, harness.Env{"SHAPE": shape})
			w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1"})
			calls, err := up.Calls(limit(t))
			ok(t, err)
			for n := range 12 { // what is kept for minutes is not audited: of a correlation, until its bots were run
				expect(t, post(t, fmt.Sprintf("%s/api/bots/bot-%d/run-backtest", w.URL, n+1), `{}`), 200)
			}
			for _, c := range calls {
				auditedHits(t, w, c, 1)
			}
			if got := audited(t, w); got.Mismatches != 0 || got.LastMismatch != nil {
				t.Errorf("%d mismatches, the last %+v", got.Mismatches, got.LastMismatch)
			}
			if got := counted(t, w, "warmfront_audit_mismatch_total"); got != 0 {
				t.Errorf("%d mismatches are counted", got)
			}
		})
	}
}

func TestTheOrderOfTickersIsNoMismatch(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1"})
	for _, c := range []harness.Call{
		{Method: "GET", Path: "/api/benchmarks/metrics?tickers=SPY,QQQ,GLD,TLT,DIA"},
		{Method: "POST", Path: "/api/candles/batch", Body: func() string { return `{"tickers":["SPY","QQQ","GLD","TLT","DIA"],"limit":60}` }},
	} {
		auditedHits(t, w, c, 6)
	}
	mismatched(t, w, 0)
}

func TestAnswersOfTheServersOwnCacheAreNoMismatch(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1"})
	// It can't be made to compute a report afresh: the audit is answered from its cache.
	sanity := harness.Call{Method: "POST", Path: "/api/bots/bot-7/sanity-report", Body: func() string { return `{}` }}
	a := post(t, w.URL+sanity.Path, `{}`)
	expect(t, a, 200, "X-Cache: MISS")
	if again := post(t, up.URL+sanity.Path, `{}`); !strings.Contains(string(body(t, a)), `"cached":false`) || !strings.Contains(string(body(t, again)), `"cached":true`) {
		t.Fatalf("expected a computation, and then an answer of the server's own cache\n%s", again)
	}
	auditedHits(t, w, sanity, 1)
	mismatched(t, w, 0)
}

// gate holds the second request to path back until it is opened.
func gate(t *testing.T, up *harness.Upstream, path string) (url string, arrived, open chan struct{}) {
	t.Helper()
	through := passTo(t, up)
	var n atomic.Int32
	arrived, open = make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path && n.Add(1) == 2 {
			close(arrived)
			select {
			case <-open:
			case <-r.Context().Done():
			}
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL, arrived, open
}

func TestAuditAcrossAnEditProvesNothing(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"through Warmfront", "past it"} {
		t.Run(way, func(t *testing.T) {
			up := upstream(t)
			url, arrived, open := gate(t, up, runPath)
			w := warmfront(t, url, harness.Env{"AUDIT_RATE": "1"})
			expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
			expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
			within(t, "the audit asks the server", arrived)
			editor := w.URL
			if way == "past it" {
				editor = up.URL
			}
			edit(t, up, editor, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
			close(open)
			until(t, func() error {
				if n := counted(t, w, "warmfront_audit_discarded_total"); n != 1 {
					return fmt.Errorf("%d audits were discarded, expected 1", n)
				}
				return nil
			})
			mismatched(t, w, 0)
			if n := counted(t, w, "warmfront_audits_total"); n != 0 {
				t.Errorf("%d audits are counted as done", n)
			}
		})
	}
}

func TestAuditsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "0"})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for range 20 {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	}
	reached(t, up, runRoute, 1)
}

// The server computes in one thread: two replicas must not audit at once.
func TestReplicasAuditOneAtATime(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1", "REDIS_URL": r.URL()})
	rdb := dialRedis(t, r)
	ok(t, rdb.Set(limit(t), "warmfront:lease:audit", "another's turn", 0).Err())
	expect(t, get(t, w.URL+"/api/candles/SPY?limit=60"), 200, "X-Cache: MISS")
	for range 30 {
		expect(t, get(t, w.URL+"/api/candles/SPY?limit=60"), 200, "X-Cache: HIT")
	}
	if n := counted(t, w, "warmfront_audits_total"); n != 0 {
		t.Errorf("%d audits while it was another replica's turn", n)
	}
	ok(t, rdb.Del(limit(t), "warmfront:lease:audit").Err())
	auditedHits(t, w, harness.Call{Method: "GET", Path: "/api/candles/SPY?limit=60", Body: func() string { return "" }}, 3)
	until(t, func() error {
		n, err := rdb.Exists(limit(t), "warmfront:lease:audit").Result()
		if err == nil && n > 0 {
			err = fmt.Errorf("the turn was not given back")
		}
		return err
	})
}
