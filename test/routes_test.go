package test

import (
	"strings"
	"testing"

	"warmfront/test/harness"
)

func TestEveryInterceptedRouteMissesThenHits(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	everyRoute(t, up)
}

func TestEveryInterceptedRouteOfTheOtherShapeMissesThenHits(t *testing.T) {
	t.Parallel()
	everyRoute(t, ownUpstream(t, harness.Env{"SHAPE": "app"}))
}

func everyRoute(t *testing.T, up *harness.Upstream) {
	t.Helper()
	w := warmfront(t, up.URL, nil)
	calls, err := up.Calls(limit(t))
	ok(t, err)
	for _, c := range calls {
		t.Run(c.Name, func(t *testing.T) {
			var answers []*harness.Answer
			for _, want := range []string{"MISS", "HIT"} {
				a, err := harness.Send(limit(t), client(t), c.Request(w.URL))
				ok(t, err)
				expect(t, a, 200, "X-Cache: "+want, "Content-Type: application/json; charset=utf-8")
				answers = append(answers, a)
			}
			sameBody(t, answers[1], answers[0])
		})
	}
}

// payload is the strategy of a bot with every id new, as JSON.
func payload(t *testing.T, up *harness.Upstream, bot string) string {
	t.Helper()
	tree, err := up.Strategy(limit(t), bot)
	ok(t, err)
	return harness.FreshIDs(tree)
}

func TestSecondClickIsAHitAlthoughEveryIDIsNew(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	first := post(t, w.URL+"/api/backtest", `{"payload":`+harness.Quote(payload(t, up, "bot-8"))+`,"mode":"CC"}`)
	expect(t, first, 200, "X-Cache: MISS")
	for _, again := range []string{
		`{"payload":` + harness.Quote(payload(t, up, "bot-8")) + `,"mode":"CC"}`,
		`{"mode":"CC","costBps":5,"benchmarkTicker":"SPY","customIndicators":[],"payload":` + payload(t, up, "bot-8") + `}`,
	} {
		a := post(t, w.URL+"/api/backtest", again)
		expect(t, a, 200, "X-Cache: HIT")
		sameBody(t, a, first)
	}
	for _, differs := range []string{
		`{"payload":` + harness.Quote(payload(t, up, "bot-9")) + `,"mode":"CC"}`,
		`{"payload":` + harness.Quote(payload(t, up, "bot-8")) + `,"mode":"CC","costBps":0}`,
	} {
		expect(t, post(t, w.URL+"/api/backtest", differs), 200, "X-Cache: MISS")
	}
	reached(t, up, backtestRoute, 3)
}

func TestUnusualSpellingsOfAPathAreTheServersToAnswer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range []string{"/API/Candles/spy/?limit=60", "/api/candles/SPY/?limit=60", "/api//candles/SPY?limit=60"} {
		direct := get(t, up.URL+path)
		for range 2 {
			a := get(t, w.URL+path)
			expect(t, a, direct.Status, "Content-Type: "+direct.Header.Get("Content-Type"))
			sameBody(t, a, direct)
		}
	}
}

func TestTickersAndLimitsThatMeanTheSameShareAnAnswer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	miss := get(t, w.URL+"/api/candles/SPY?limit=50")
	for _, same := range []string{"/api/candles/spy?limit=50", "/api/candles/SPY?limit=7", "/api/candles/%20S%20P%20Y?limit=50"} {
		a := get(t, w.URL+same)
		expect(t, a, 200, "X-Cache: HIT")
		sameBody(t, a, miss)
		sameBody(t, get(t, up.URL+same), a)
	}
	if a := get(t, w.URL+"/api/candles/SPY?limit=51"); a.Header.Get("X-Cache") == "HIT" || strings.Contains(string(body(t, a)), "error") {
		t.Fatalf("expected an answer of its own\n%s", a)
	}
}
