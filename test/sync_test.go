package test

import (
	"fmt"
	"testing"

	"warmfront/test/harness"
)

// moved waits until Warmfront's date differs from before.
func moved(t *testing.T, w *harness.Server, before string) {
	t.Helper()
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && (ready.DataDate == nil || *ready.DataDate == before) {
			err = fmt.Errorf("the data date is still %s", before)
		}
		return err
	})
}

func TestAfterASyncTheOldAnswerIsNotServed(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "100"})
	r := redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	_, ready, err := harness.Ready(w.URL)
	ok(t, err)
	before := *ready.DataDate
	candles := "/api/candles/SPY?limit=60"
	old := get(t, w.URL+candles)
	for _, want := range []string{"MISS", "HIT"} {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: "+want)
	}

	ok(t, up.Sync("append", 300))
	moved(t, w, before)
	a := get(t, w.URL+candles)
	expect(t, a, 200, "X-Cache: MISS")
	sameBody(t, a, get(t, up.URL+candles))
	if string(body(t, a)) == string(body(t, old)) {
		t.Fatalf("the sync changed nothing that this test could see\n%s", a)
	}
	run := post(t, w.URL+runPath, `{}`)
	expect(t, run, 200, "X-Cache: MISS")
	expectCacheStatus(t, run, "provisional")
	reached(t, up, runRoute, 2)
	_, ready, err = harness.Ready(w.URL)
	ok(t, err)
	if !ready.Provisional {
		t.Fatal("readyz does not say provisional right after the data moved")
	}
}

func TestRewrittenHistoryIsNoticedAlthoughTheDateStays(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "100"})
	w := warmfront(t, up.URL, nil)
	path := "/api/candles/SPY?limit=60"
	old := get(t, w.URL+path)
	expect(t, old, 200, "X-Cache: MISS")
	expect(t, get(t, w.URL+path), 200, "X-Cache: HIT")
	ok(t, up.Sync("restate", 200))
	until(t, func() error {
		if now := get(t, up.URL+path); string(body(t, now)) == string(body(t, old)) {
			return fmt.Errorf("the server's history is not rewritten yet")
		}
		return nil
	})
	until(t, func() error {
		a, direct := get(t, w.URL+path), get(t, up.URL+path)
		if string(body(t, a)) != string(body(t, direct)) {
			return fmt.Errorf("still the old history\n%s", a)
		}
		return nil
	})
}

func TestHolidaySyncThrowsNothingAway(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "100"})
	w := warmfront(t, up.URL, nil)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	ok(t, up.Sync("holiday", 200))
	until(t, func() error { // several looks at the data later
		c, err := up.Counts()
		if err == nil && c.Routes["GET /api/candles/:ticker"] < 10 {
			err = fmt.Errorf("%d looks at the canary so far", c.Routes["GET /api/candles/:ticker"])
		}
		return err
	})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
}

// Without an admin's login the server doesn't say which rows a correlation was made of. That it has made them anew
// since the sync every replica knows, whichever asked for it.
func TestCorrelationIsKeptOnEveryReplicaOnceOneHasHadItsRowsMade(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "SYNC_SETTLE": "1500ms", "METRICS_WRITEBACK": "false"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	_, ready, err := harness.Ready(one.URL)
	ok(t, err)
	ok(t, up.Sync("append", 300))
	for _, w := range []*harness.Server{one, two} {
		moved(t, w, *ready.DataDate)
		settled(t, w)
	}
	path, body := "/api/correlation/optimize", `{"botIds":["bot-7","bot-8"]}`
	a := post(t, two.URL+path, body)
	expect(t, a, 200, "X-Cache: PASS")
	expectCacheStatus(t, a, "rows-older")
	for _, bot := range []string{"bot-7", "bot-8"} {
		expect(t, post(t, one.URL+"/api/bots/"+bot+"/run-backtest", `{}`), 200, "X-Cache: MISS")
	}
	a = post(t, two.URL+path, body)
	expect(t, a, 200, "X-Cache: MISS")
	expectCacheStatus(t, a, "detail=upstream")
	expect(t, post(t, one.URL+path, body), 200, "X-Cache: HIT", "X-Cache-Tier: redis")
}

// settled waits until Warmfront takes the data for settled.
func settled(t *testing.T, w *harness.Server) {
	t.Helper()
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && ready.Provisional {
			err = fmt.Errorf("the data is not settled yet")
		}
		return err
	})
}
