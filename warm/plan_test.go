package warm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry is a request as the journal keeps it.
func entry(t *testing.T, method, target, body string, uses int64, took time.Duration) Entry {
	t.Helper()
	n := note(t, method, target, body, took)
	packed, err := n.pack()
	ok(t, err)
	return Entry{ID: n.Request.ID(), Uses: uses, Last: noon, Took: took, Score: used(uses, noon).times(took), packed: packed}
}

func bots(list ...bot) map[string]bot {
	m := map[string]bot{}
	for _, b := range list {
		if b.mode == "" {
			b.mode, b.costBps = "CC", []byte("5")
		}
		m[b.id] = b
	}
	return m
}

// asks lists a stage's targets and bodies in order.
func asks(t *testing.T, p plan, stage string) (list []string) {
	t.Helper()
	for _, g := range p[stage] {
		for _, r := range g.requests {
			ok(t, r.prepare())
			list = append(list, strings.TrimSpace(r.asked.Target+" "+r.asked.Body))
		}
	}
	return list
}

func TestEachRequestIsPlannedForItsStage(t *testing.T) {
	p, gone := makePlan(bots(bot{id: "a"}), []Entry{
		entry(t, "POST", "/api/bots/a/sanity-report", `{}`, 1, time.Second),
		entry(t, "POST", "/api/correlation/optimize", `{"botIds":["a","b"]}`, 9, time.Second),
		entry(t, "POST", "/api/indicator-series", `{"conditions":[]}`, 1, time.Second),
		entry(t, "GET", "/api/candles/SPY?limit=60", ``, 1, time.Second),
		entry(t, "POST", "/api/candles/batch", `{"tickers":["SPY"]}`, 1, time.Second),
		entry(t, "POST", "/api/backtest", `{"payload":{}}`, 1, time.Second),
		entry(t, "POST", "/api/sanity-report", `{"payload":{}}`, 1, time.Second),
	}, noon)
	if len(gone) > 0 {
		t.Fatalf("%d have no place", len(gone))
	}
	for stage, want := range map[string]int{stageCandles: 2, stageIndicators: 1, stageBacktests: 2, stageBenchmarks: 1, stageReports: 3} {
		if got := asks(t, p, stage); len(got) != want {
			t.Errorf("%s: %q, expected %d", stage, got, want)
		}
	}
	if p.left(nil) != 9 {
		t.Errorf("%d in all, expected 9", p.left(nil))
	}
}

func TestTheStoredVariantOfABotIsLastAndNotTwice(t *testing.T) {
	p, _ := makePlan(bots(bot{id: "a", mode: "OO", costBps: []byte("2")}), []Entry{
		entry(t, "POST", "/api/bots/a/run-backtest", `{"mode":"OO","costBps":2}`, 100, time.Second), // the stored one, and the most valuable
		entry(t, "POST", "/api/bots/a/run-backtest", `{}`, 1, time.Second),
		entry(t, "POST", "/api/bots/a/run-backtest", `{"benchmarkTicker":"QQQ"}`, 5, time.Second),
	}, noon)
	got := asks(t, p, stageBacktests)
	if len(got) != 3 || !strings.Contains(got[0], "QQQ") || !strings.Contains(got[2], `"OO"`) {
		t.Fatalf("planned %q, expected the most valuable first and the stored one last", got)
	}
	if len(p[stageBacktests]) != 1 {
		t.Fatalf("%d groups: two workers could overtake one another", len(p[stageBacktests]))
	}
}

func TestTheMostValuableComeFirstAndBotsNeverAskedForAreNotForgotten(t *testing.T) {
	p, _ := makePlan(bots(bot{id: "a"}, bot{id: "b"}, bot{id: "c"}, bot{id: "never"}), []Entry{
		entry(t, "POST", "/api/bots/a/run-backtest", `{}`, 1, time.Second),
		entry(t, "POST", "/api/bots/b/run-backtest", `{}`, 50, time.Second),
		entry(t, "POST", "/api/bots/c/run-backtest", `{}`, 5, time.Second),
		entry(t, "POST", "/api/backtest", `{"payload":{}}`, 20, time.Second),
	}, noon)
	var got []string
	for _, g := range p[stageBacktests] {
		got = append(got, g.requests[0].bot)
	}
	if want := []string{"b", "", "c", "a", "never"}; !slices.Equal(got, want) {
		t.Fatalf("the order is %q, expected %q", got, want)
	}
}

func TestDeletedBotsDropOut(t *testing.T) {
	entries := []Entry{
		entry(t, "POST", "/api/bots/a/run-backtest", `{"mode":"OO"}`, 1, time.Second),
		entry(t, "POST", "/api/bots/a/sanity-report", `{}`, 1, time.Second),
		entry(t, "POST", "/api/correlation/optimize", `{"botIds":["b","a"]}`, 1, time.Second),
		entry(t, "POST", "/api/correlation/optimize", `{"botIds":["b","c"]}`, 1, time.Second),
	}
	p, gone := makePlan(bots(bot{id: "a", deleted: true}, bot{id: "b"}), entries, noon)
	if len(gone) != 3 || slices.Contains(gone, entries[3].ID) {
		t.Fatalf("dropped %q, expected the three that name the deleted bot", gone)
	}
	if got := asks(t, p, stageBacktests); len(got) != 1 || !strings.Contains(got[0], "/b/") {
		t.Fatalf("planned %q", got)
	}
}

func TestBotsThatUsersBacktestGetASanityReportIfUsersLookAtThem(t *testing.T) {
	run := func(bot string) Entry {
		return entry(t, "POST", "/api/bots/"+bot+"/run-backtest", `{"mode":"OO"}`, 1, time.Second)
	}
	all := bots(bot{id: "a"}, bot{id: "b"}, bot{id: "never"})
	p, _ := makePlan(all, []Entry{run("a"), run("b")}, noon)
	if got := asks(t, p, stageReports); len(got) != 0 {
		t.Fatalf("planned %q though nobody looks at sanity reports", got)
	}
	p, _ = makePlan(all, []Entry{run("a"), run("b"), entry(t, "POST", "/api/bots/a/sanity-report", `{"seed":7}`, 1, time.Second)}, noon)
	got := asks(t, p, stageReports)
	if len(got) != 2 || !strings.Contains(got[0], "/a/") || !strings.Contains(got[0], `"seed":7`) || got[1] != "/api/bots/b/sanity-report {}" {
		t.Fatalf("planned %q, expected the one that was asked for, and the default of the other bot", got)
	}
}

func TestABotThatIsNotShownKeepsItsVariants(t *testing.T) {
	p, gone := makePlan(nil, []Entry{entry(t, "POST", "/api/bots/a/run-backtest", `{"mode":"OO"}`, 1, time.Second)}, noon)
	if len(gone) != 0 || len(asks(t, p, stageBacktests)) != 1 {
		t.Fatal("what users asked for is warmed although the bot's stored mode isn't known")
	}
}

// Whoever can write to Redis must not be able to make Warmfront place an order.
func TestNothingButInterceptedRoutesIsEverReplayed(t *testing.T) {
	var entries []Entry
	for i, a := range []*asked{
		{Method: "POST", Target: "/api/live/orders", Body: `{"symbol":"SPY"}`},
		{Method: "DELETE", Target: "/api/bots/a"},
		{Method: "POST", Target: "http://elsewhere/api/bots/a/run-backtest", Body: `{}`},
		{Method: "POST", Target: "/api/bots/a/run-backtest/../../../live/orders", Body: `{}`},
	} {
		packed, err := pack(a)
		ok(t, err)
		entries = append(entries, Entry{ID: fmt.Sprint(i), packed: packed})
	}
	entries = append(entries, Entry{ID: "x", packed: []byte("foreign")})
	p, gone := makePlan(nil, entries, noon)
	if p.left(nil) != 1 || len(gone) != len(entries) { // the benchmarks are ours
		t.Fatalf("planned %d, dropped %q, expected all to be dropped", p.left(nil), gone)
	}
}

func TestAnEntryThatIsNotWhatItSaysIsNotReplayed(t *testing.T) {
	e := entry(t, "POST", "/api/bots/a/run-backtest", `{}`, 1, time.Second)
	e.ID = strings.Repeat("0", 64)
	p, _ := makePlan(nil, []Entry{e}, noon)
	if err := p[stageBacktests][0].requests[0].prepare(); err == nil {
		t.Fatal("it would be replayed under another's ID")
	}
}

func TestAllShapesOfListsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want bot
	}{
		"nexus list":       {`{"bots":[{"id":"b","ownerId":"o","backtestMode":"OO","backtestCostBps":2,"metrics":{"cagr":1}}]}`, bot{id: "b", mode: "OO", costBps: []byte("2")}},
		"array":            {`[{"id":"b"}]`, bot{id: "b", mode: "CC", costBps: []byte("5")}},
		"rows":             {`{"success":true,"systems":[{"id":"b","owner_id":"o","backtest_mode":"OC","backtest_cost_bps":0,"deleted_at":null}]}`, bot{id: "b", mode: "OC", costBps: []byte("0")}},
		"deleted row":      {`{"systems":[{"id":"b","owner_id":"o","deleted_at":1768000000}]}`, bot{id: "b", mode: "CC", costBps: []byte("5"), deleted: true}},
		"deleted, as text": {`{"systems":[{"id":"b","deleted_at":"2026-01-14 10:00:00"}]}`, bot{id: "b", mode: "CC", costBps: []byte("5"), deleted: true}},
		"nulls":            {`{"bots":[{"id":"b","backtestMode":null,"backtestCostBps":null,"deletedAt":null}]}`, bot{id: "b", mode: "CC", costBps: []byte("5")}},
	} {
		list, err := shownList([]byte(c.body))
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %v, %d bots", name, err, len(list))
			continue
		}
		if got := list[0].bot(); got.id != c.want.id || got.mode != c.want.mode || string(got.costBps) != string(c.want.costBps) || got.deleted != c.want.deleted {
			t.Errorf("%s: read as %+v, expected %+v", name, got, c.want)
		}
	}
	for _, body := range []string{``, `null`, `{"error":"no"}`, `<!doctype html>`, `{"bots":"none"}`, `{"bots":{}}`} {
		if list, err := shownList([]byte(body)); err == nil && len(list) > 0 {
			t.Errorf("%q reads as a list", body)
		}
	}
}

func TestAllBotsAreListedWithAnAdminsLogin(t *testing.T) {
	w := newWorld()
	w.answers = map[string]string{
		"/api/nexus/bots":            `{"bots":[{"id":"public","ownerId":"one","backtestMode":"OO"}]}`,
		"/api/admin/systems/user":    `{"systems":[{"id":"public","owner_id":"one"},{"id":"mine","owner_id":"two words"},{"id":"old","owner_id":"three","deleted_at":5}]}`,
		"/api/bots?userId=one":       `{"bots":[{"id":"public","ownerId":"one","backtestMode":"OO","payload":"{}"}]}`,
		"/api/bots?userId=two+words": `{"bots":[{"id":"mine","ownerId":"two words","backtestCostBps":1}]}`,
		"/api/bots/asked":            `{"bot":{"id":"asked","backtestMode":"OC"}}`,
		"/api/bots/other":            `{"bot":{"id":"another"}}`,
	}
	l := newLoop(w, nil)
	p := l.newPass("1", &runInfo{}, newTally(), nil)
	got, err := p.listBots(t.Context(), []string{"asked", "public", "nobody", "other"})
	ok(t, err)
	if len(got) != 5 || got["public"].mode != "OO" || string(got["mine"].costBps) != "1" || !got["old"].deleted || got["asked"].mode != "OC" || !got["nobody"].deleted {
		t.Fatalf("listed %+v", got)
	}
}
