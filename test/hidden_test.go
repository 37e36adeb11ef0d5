package test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"warmfront/keying"
	"warmfront/test/harness"
)

// What the server holds in its memory and does not show: bars, price databases, benchmark tables.

const (
	clearings = "POST /api/admin/cache/invalidate"
	looks     = "GET /api/benchmarks/metrics"
)

// fromPrices are the calls whose answers come of prices in the server's memory, fromTables those that come of its
// benchmark tables.
func fromPrices(t *testing.T, up *harness.Upstream) (calls []harness.Call) {
	t.Helper()
	all, err := up.Calls(limit(t))
	ok(t, err)
	for _, c := range all {
		if !strings.HasPrefix(c.Name, "candles") && c.Name != "benchmarks" {
			calls = append(calls, c)
		}
	}
	return calls
}

func fromTables() []harness.Call {
	return []harness.Call{
		{Name: "benchmarks", Method: "GET", Path: "/api/benchmarks/metrics?tickers=SPY,QQQ"},
		{Name: "benchmarks of a range", Method: "GET", Path: "/api/benchmarks/metrics?tickers=SPY,QQQ&startDate=2025-06-02"},
	}
}

func isSanity(c harness.Call) bool { return strings.HasSuffix(c.Name, "sanity") }

// compared sends the same request to a Warmfront, or to the server itself, and to a server that computes it from its
// files. It gives the answer, and why the two do not say the same.
func compared(t *testing.T, base string, up *harness.Upstream, c harness.Call) (*harness.Answer, error) {
	t.Helper()
	r := c.Request(base)
	a, err := harness.Send(limit(t), client(t), r)
	ok(t, err)
	if a.Status != http.StatusOK {
		t.Fatalf("%s: status %d\n%s", c.Name, a.Status, a)
	}
	r.URL = c.Path
	fresh, err := up.Fresh(limit(t), r)
	ok(t, err)
	at, err := url.Parse(c.Path)
	ok(t, err)
	route, param, found := keying.Match(c.Method, at.EscapedPath())
	if !found {
		t.Fatalf("%s is no route", c.Path)
	}
	q, err := route.Parse(param, at.RawQuery, r.Body, keying.ByOrder)
	ok(t, err)
	same, where, err := q.Same(body(t, a), fresh)
	ok(t, err)
	if !same {
		return a, fmt.Errorf("%s: not what the files give, at %s\n%s", c.Name, where, a)
	}
	return a, nil
}

func isProvisional(a *harness.Answer) bool {
	return strings.Contains(a.Header.Get("Cache-Status"), "provisional")
}

// cleared waits until the server has been cleared n more times than before, and every replica holds the data for
// settled.
func cleared(t *testing.T, up *harness.Upstream, before harness.Counts, n int, replicas ...*harness.Server) {
	t.Helper()
	until(t, func() error {
		c, err := up.Counts()
		if got := c.Routes[clearings] - before.Routes[clearings]; err == nil && got < n {
			err = fmt.Errorf("cleared %d times so far, want %d", got, n)
		}
		return err
	})
	for _, w := range replicas {
		settled(t, w)
	}
}

// looked waits until the server has been asked about its data n times more.
func looked(t *testing.T, up *harness.Upstream, n int, each func()) {
	t.Helper()
	before, err := up.Counts()
	ok(t, err)
	until(t, func() error {
		c, err := up.Counts()
		each()
		if got := c.Routes[looks] - before.Routes[looks]; err == nil && got < n {
			err = fmt.Errorf("%d looks at the data so far", got)
		}
		return err
	})
}

func withLogin(env harness.Env) harness.Env {
	all := maps.Clone(adminLogin)
	maps.Copy(all, env)
	return all
}

// History is rewritten under the same last date: no date tells.
func TestAfterHistoryWasRewrittenNoRouteAnswersFromTheOldOneOnEitherReplica(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50", "TRAPS_OFF": "odd-date-text"})
	one, two, _ := replicas(t, up, withLogin(harness.Env{"SYNC_SETTLE": "1h", "METRICS_WRITEBACK": "false"}))
	both := []*harness.Server{one, two}
	calls := fromPrices(t, up)
	for _, w := range both {
		for _, c := range append(calls, fromTables()...) {
			if _, err := compared(t, w.URL, up, c); err != nil {
				t.Fatal("before the sync:", err)
			}
		}
	}
	before, err := up.Counts()
	ok(t, err)
	ok(t, up.Sync("restate", 300))
	cleared(t, up, before, 2, both...)
	for _, bot := range []string{"bot-1", "bot-2", "bot-3"} { // a correlation tells nothing of the rows that it comes of
		expect(t, post(t, one.URL+"/api/bots/"+bot+"/run-backtest", `{}`), 200, "X-Cache: MISS")
	}
	for _, w := range both {
		for _, c := range calls {
			a, err := compared(t, w.URL, up, c)
			ok(t, err)
			if isProvisional(a) != isSanity(c) {
				t.Errorf("%s: provisional %v; want only what comes of benchmark tables to be\n%s", c.Name, isProvisional(a), a)
			}
		}
		for _, c := range fromTables() {
			a, _ := compared(t, w.URL, up, c)
			expectCacheStatus(t, a, "provisional-tables-stale")
		}
	}
	for _, c := range calls { // what the server keeps for itself is right too
		if _, err := compared(t, up.URL, up, c); err != nil {
			t.Error("asked directly:", err)
		}
	}

	ok(t, up.Restart())
	for _, w := range both {
		for _, c := range append(fromTables(), calls...) {
			until(t, func() error {
				a, err := compared(t, w.URL, up, c)
				if err == nil && isProvisional(a) {
					err = fmt.Errorf("%s: provisional after a restart\n%s", c.Name, a)
				}
				return err
			})
		}
	}
}

func TestWithoutALoginNothingIsBelievedOnceHistoryWasRewritten(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50", "TRAPS_OFF": "odd-date-text"})
	w := warmfront(t, up.URL, harness.Env{"SYNC_SETTLE": "1500ms", "METRICS_WRITEBACK": "false"})
	calls := fromPrices(t, up)
	for _, c := range calls {
		_, err := compared(t, w.URL, up, c)
		ok(t, err)
	}
	ok(t, up.Sync("restate", 300))
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && (ready.Provisional || ready.Why == "" || ready.Remedy == "" || ready.Admin != "none") {
			err = fmt.Errorf("readyz says %+v; want settled, with why answers are not believed", ready)
		}
		return err
	})
	for _, c := range calls {
		a, _ := compared(t, w.URL, up, c) // may be of the old history, as the server's own
		if stored := strings.Contains(a.Header.Get("Cache-Status"), "; stored"); stored {
			expectCacheStatus(t, a, "provisional-prices-unproven")
		}
	}
	candles := get(t, w.URL+"/api/candles/SPY?limit=60")
	if expect(t, candles, 200, "X-Cache: MISS"); isProvisional(candles) {
		t.Fatalf("candles are read from disk\n%s", candles)
	}

	login := post(t, up.URL+"/api/auth/login", `{"email":"admin@example.com","password":"admin-password"}`)
	admin := "Authorization: Bearer " + parsed[struct{ AccessToken string }](t, login).AccessToken
	expect(t, post(t, w.URL+"/api/admin/cache/invalidate", `{}`, admin), 200)
	run := calls[0]
	until(t, func() error {
		a, err := compared(t, w.URL, up, run)
		if err == nil && isProvisional(a) {
			err = fmt.Errorf("provisional after an admin's clearing\n%s", a)
		}
		return err
	})
}

// After a restart the schedule has no last sync (trap 26), and the memory is new.
func TestRestartOfTheServerIsNoSync(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50"})
	w := warmfront(t, up.URL, withLogin(harness.Env{"SYNC_SETTLE": "1h", "METRICS_WRITEBACK": "false"}))
	before, err := up.Counts()
	ok(t, err)
	ok(t, up.Sync("append", 300))
	cleared(t, up, before, 2, w)
	calls := fromPrices(t, up)
	run, sanity := calls[0], calls[2]
	for _, c := range []harness.Call{run, sanity} {
		_, err := compared(t, w.URL, up, c)
		ok(t, err)
	}
	a, err := compared(t, w.URL, up, sanity)
	ok(t, err)
	expectCacheStatus(t, a, "provisional-tables-stale")

	ok(t, up.Restart())
	looked(t, up, 8, func() {
		_, ready, err := harness.Ready(w.URL)
		ok(t, err)
		if ready.Provisional {
			t.Fatalf("readyz says %+v after a restart", ready)
		}
	})
	a, err = compared(t, w.URL, up, run)
	ok(t, err)
	expect(t, a, 200, "X-Cache: HIT") // what was proven stays
	until(t, func() error {
		a, err := compared(t, w.URL, up, sanity)
		if err == nil && isProvisional(a) {
			err = fmt.Errorf("provisional after a restart\n%s", a)
		}
		return err
	})
}

// A database that is built while a file is half-written lacks its ticker, ends at the right date, and stays.
func TestTickerWhoseFileWasHalfWrittenIsNotMissedForLong(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50", "TICKERS": "A,QQQ,SPY,TLT,XOM"})
	w := warmfront(t, up.URL, harness.Env{"SYNC_SETTLE": "1500ms"})
	tree := `{"id":"r","kind":"basic","children":{"next":[{"id":"p","kind":"position","positions":["A","XOM"]}]}}`
	c := harness.Call{Name: "backtest", Method: "POST", Path: "/api/backtest", Body: func() string {
		return `{"payload":` + harness.Quote(tree) + `,"benchmarkTicker":"A"}`
	}}
	ok(t, up.SyncTorn("append", 500, 400))
	missed := false
	until(t, func() error {
		a, err := compared(t, w.URL, up, c)
		missed = missed || err != nil
		switch {
		case !missed:
			return fmt.Errorf("no file was missed yet")
		case err == nil && (isProvisional(a) || !strings.Contains(curve(t, a), "2026-01-15")):
			return fmt.Errorf("provisional, or of before the sync\n%s", a)
		}
		return err
	})
}

// Of a warm run after a sync nothing is behind the data, and only what comes of benchmark tables is provisional.
func TestWarmRunAfterASyncLeavesNothingOfBeforeIt(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50"}), redisServer(t)
	w := warmfront(t, up.URL, warming(withLogin(harness.Env{"REDIS_URL": r.URL(), "SYNC_SETTLE": "1h"})))
	warmNow(t, w)
	first := warmedFor(t, w, "")
	calls := fromPrices(t, up)
	for _, c := range calls {
		_, err := compared(t, w.URL, up, c)
		ok(t, err)
	}
	remembered(t, r, int64(len(calls)))
	ok(t, up.Sync("append", 300))
	p := warmedFor(t, w, first.LastRun.Date)
	tables := 0
	for _, c := range calls {
		a, err := compared(t, w.URL, up, c)
		ok(t, err)
		expect(t, a, 200, "X-Cache: HIT")
		if isProvisional(a) != isSanity(c) {
			t.Errorf("%s: provisional %v", c.Name, isProvisional(a))
		}
		if isSanity(c) {
			tables++
		}
	}
	if p.LastRun.Failed > 0 || p.LastRun.Provisional > tables+1 { // the benchmarks that the loop asks for besides
		t.Errorf("not all is warm: %+v", *p.LastRun)
	}
	metrics := string(body(t, get(t, w.URL+"/_warmfront/metrics")))
	if !strings.Contains(metrics, "\nwarmfront_behind_data_total 0\n") {
		t.Errorf("some answers were behind the data: %+v", *p.LastRun)
	}
}

// Connections that are refused for a while, and answers again, are a process that was started anew.
func TestRestartOfTheServerEndsTheDoubtThatRewrittenHistoryLeft(t *testing.T) {
	t.Parallel()
	env := harness.Env{"DATA_DATE_MEMORY_MS": "50", "TRAPS_OFF": "odd-date-text"}
	up := ownUpstream(t, env)
	w := warmfront(t, up.URL, harness.Env{"SYNC_SETTLE": "1500ms", "METRICS_WRITEBACK": "false"})
	calls := fromPrices(t, up)[:2] // of a saved bot, and of one in the request
	for _, c := range calls {
		_, err := compared(t, w.URL, up, c)
		ok(t, err)
	}
	doubts := func(want bool) {
		t.Helper()
		until(t, func() error {
			_, ready, err := harness.Ready(w.URL)
			if err == nil && (ready.Provisional || strings.Contains(ready.Why, "history") != want) {
				err = fmt.Errorf("readyz says %+v; want it settled, with history in doubt: %v", ready, want)
			}
			return err
		})
	}
	ok(t, up.Sync("restate", 300))
	doubts(true)
	u, err := url.Parse(up.URL)
	ok(t, err)
	up.Stop()
	var down time.Time
	until(t, func() error { // connections must have been refused for a second
		_, ready, err := harness.Ready(w.URL)
		switch {
		case err != nil:
			return err
		case ready.Upstream != "down":
			return fmt.Errorf("readyz says %+v of a server that was stopped", ready)
		case down.IsZero():
			down = time.Now()
		}
		if since := time.Since(down); since < 1500*time.Millisecond {
			return fmt.Errorf("down for %v", since)
		}
		return nil
	})
	maps.Copy(env, harness.Env{"PORT": u.Port(), "DATA_DIR": up.DataDir, "PARQUET_DIR": ""}) // its files stay as they are
	up = ownUpstream(t, env)
	doubts(false)
	for _, c := range calls {
		a, err := compared(t, w.URL, up, c)
		ok(t, err)
		if isProvisional(a) {
			t.Errorf("%s: provisional after a restart\n%s", c.Name, a)
		}
	}
}
