package keying

import (
	"slices"
	"strings"
	"testing"
)

func TestQueriesShareAKeyOnlyWhenTheServerReadsThemAlike(t *testing.T) {
	for _, c := range []struct {
		name, param, query string
		other, otherQuery  string
		same               bool
	}{
		{"benchmarks", "", "", "", "tickers=" + defaultTickers, true},
		{"benchmarks", "", "tickers=spy,%20qqq+", "", "tickers=SPY%2CQQQ", true},
		{"benchmarks", "", "startDate=2020-01-01&tickers=SPY", "", "&tickers=SPY&&startDate=2020%2D01-01", true},
		{"benchmarks", "", "tickers=SPY,QQQ", "", "tickers=QQQ,SPY", false},
		{"benchmarks", "", "tickers=", "", "", false},
		{"benchmarks", "", "tickers=SPY", "", "tickers=SPY,", false},
		{"benchmarks", "", "startDate=", "", "", false},
		{"benchmarks", "", "x", "", "", false},
		{"benchmarks", "", "x", "", "x=", true},
		{"candles", "SPY", "", "spy", "limit=1500", true},
		{"candles", "SPY", "limit=", " spy\n", "limit=000", true},
		{"candles", "BC/PC", "", "BCPC", "", true},
		{"candles", "SPY", "limit=1", "SPY", "limit=0050", true},
		{"candles", "SPY", "limit=20000", "SPY", "limit=999999999", true},
		{"candles", "SPY", "limit=51", "SPY", "limit=50", false},
		{"candles", "SPY", "", "^SPY", "", false},
		{"candles", "SPY", "v=1", "SPY", "", false},
		{"run-backtest", "b", "", "b", "&", true},
		{"run-backtest", "b", "userId=u", "b", "", false},
		{"run-backtest", "b", "a=1&b=2", "b", "b=2&a=1", true},
	} {
		a := keyOf(t, ask(t, c.name, c.param, c.query, ""))
		b := keyOf(t, ask(t, c.name, c.other, c.otherQuery, ""))
		if (a == b) != c.same {
			t.Errorf("%s %q?%s and %q?%s: same key %v", c.name, c.param, c.query, c.other, c.otherQuery, a == b)
		}
	}
}

func TestOnlyExactlyTrueForcesARefresh(t *testing.T) {
	for body, want := range map[string]bool{
		``: false, `{}`: false, `{"forceRefresh":true}`: true, `{"forceRefresh":"true"}`: false, `{"forceRefresh":1}`: false, `{"forceRefresh":false}`: false,
	} {
		if q := ask(t, "run-backtest", "b", "", body); q.Refresh != want {
			t.Errorf("%s: Refresh %v", body, q.Refresh)
		}
	}
	if ask(t, "backtest", "", "", `{"payload":{},"forceRefresh":true}`).Refresh {
		t.Error("/api/backtest has no forceRefresh")
	}
}

func TestAForcedBodyIsTheRequestsOwnBesidesForceRefresh(t *testing.T) {
	for body, want := range map[string]string{
		``:                                      `{"forceRefresh":true}`,
		`{"mode":"","costBps":0,"x":[null]}`:    `{"costBps":0,"forceRefresh":true,"mode":"","x":[null]}`,
		`{"forceRefresh":false,"costBps":null}`: `{"costBps":null,"forceRefresh":true}`,
		`{"x":{"b":[{"d":1,"c":2}],"a":0}}`:     `{"forceRefresh":true,"x":{"b":[{"d":1,"c":2}],"a":0}}`,
	} {
		if got := string(ask(t, "run-backtest", "b", "", body).Forced()); got != want {
			t.Errorf("%s: forced %s, want %s", body, got, want)
		}
	}
	if ask(t, "bot-sanity", "b", "", "").Forced() != nil {
		t.Error("a sanity report can't be forced")
	}
}

func TestAVariantIsModeCostsAndBenchmark(t *testing.T) {
	q := ask(t, "run-backtest", "b", "", `{"x":1}`)
	if q.Benchmark != "SPY" || q.Variant != ask(t, "run-backtest", "b", "", `{"mode":"CC","costBps":5}`).Variant {
		t.Errorf("%q %q", q.Benchmark, q.Variant)
	}
	if r := ask(t, "run-backtest", "b", "", `{"benchmarkTicker":"QQQ"}`); r.Benchmark != "QQQ" || r.Variant == q.Variant {
		t.Errorf("%q %q", r.Benchmark, r.Variant)
	}
}

// What is remembered of requests must not grow with them.
func TestVariantOrTickerAsLongAsABodyIsNotRememberedInFull(t *testing.T) {
	long := strings.Repeat("A", 1<<16)
	a, b := ask(t, "run-backtest", "b", "", `{"mode":"`+long+`"}`), ask(t, "run-backtest", "b", "", `{"mode":"`+long+`","costBps":6}`)
	if len(a.Variant) > maxVariant || a.Variant == b.Variant {
		t.Errorf("variants of %d and %d bytes, equal %v; want two short ones", len(a.Variant), len(b.Variant), a.Variant == b.Variant)
	}
	q := ask(t, "candles-batch", "", "", `{"tickers":["`+long+`","SPY"]}`)
	if uses := q.Uses(nil); !slices.Equal(uses, []string{"SPY"}) {
		t.Errorf("uses %d tickers; want SPY only", len(uses))
	}
}

func TestBotsAreNamedInTheOrderOfTheRequest(t *testing.T) {
	q := ask(t, "correlation-recommend", "", "", `{"currentBotIds":["z","a"],"candidateBotIds":["m","z"]}`)
	if want := []string{"z", "a", "m", "z"}; !slices.Equal(q.Bots, want) || q.Bot != "" {
		t.Errorf("%q %q", q.Bots, q.Bot)
	}
	if !strings.HasPrefix(keyOf(t, q), "correlation:-:") {
		t.Error(keyOf(t, q))
	}
	if q := ask(t, "run-backtest", "b", "", ""); !slices.Equal(q.Bots, []string{"b"}) || q.Bot != "b" {
		t.Errorf("%q %q", q.Bots, q.Bot)
	}
}

func TestAPeriodThatEndsTodayDependsOnTheDay(t *testing.T) {
	tomorrow := now
	tomorrow.Today = "2026-01-16"
	for body, want := range map[string]bool{
		`{"botIds":["a","b"]}`: false, `{"botIds":["a","b"],"period":"full"}`: false, `{"botIds":["a","b"],"period":"1y"}`: true, `{"botIds":["a","b"],"period":null}`: true,
	} {
		q := ask(t, "correlation-optimize", "", "", body)
		a, _ := q.Key(revisions(q), now)
		b, _ := q.Key(revisions(q), tomorrow)
		if q.Today != want || (a != b) != want {
			t.Errorf("%s: Today %v, keys differ %v", body, q.Today, a != b)
		}
	}
}

func TestAKeyMovesWithTheDataAndTheEpoch(t *testing.T) {
	q := ask(t, "run-backtest", "b", "", "")
	seen := map[string]bool{}
	for _, d := range []Data{
		{Date: day}, {Date: "2026-01-15"}, {Date: day, Generation: "1"}, {Date: day, Epoch: "1"}, {Date: day, Generation: "1", Epoch: "1"}, {Date: day, Generation: "11"},
	} {
		key, err := q.Key(revisions(q), d)
		if err != nil || seen[key] {
			t.Errorf("%+v: %s %v", d, key, err)
		}
		seen[key] = true
	}
}

func TestWithoutAllItDependsOnThereIsNoKey(t *testing.T) {
	run, sanity := ask(t, "run-backtest", "b", "", ""), ask(t, "bot-sanity", "b", "", "")
	year := ask(t, "correlation-optimize", "", "", `{"botIds":[],"period":"1y"}`)
	s := []Revision{{Strategy: "s"}}
	for name, c := range map[string]struct {
		q    *Request
		revs []Revision
		d    Data
	}{
		"no date": {run, s, Data{}}, "odd date": {run, s, Data{Date: "Wed Jan 14 2026"}}, "short date": {run, s, Data{Date: "2026-1-4"}},
		"no such day": {run, s, Data{Date: "2026-02-30"}}, "no revision": {run, nil, now}, "two revisions": {run, append(s, s...), now},
		"empty revision": {run, []Revision{{}}, now}, "settings unknown": {sanity, s, now}, "no today": {year, nil, Data{Date: day}},
		"epoch not UTF-8": {run, s, Data{Date: day, Epoch: "\xff"}}, "colon": {run, s, Data{Date: "2026:01:14"}},
	} {
		if key, err := c.q.Key(c.revs, c.d); err == nil || key != "" {
			t.Errorf("%s: key %q", name, key)
		}
	}
}

func TestOnlyTheRevisionPartsThatCountMoveAKey(t *testing.T) {
	for _, c := range []struct {
		name, param, body           string
		strategy, settings, metrics bool
	}{
		{"run-backtest", "b", "", true, false, false},
		{"bot-sanity", "b", "", true, true, false},
		{"correlation-optimize", "", `{"botIds":["b"]}`, true, true, true},
		{"correlation-recommend", "", `{"candidateBotIds":["b"]}`, true, true, true},
	} {
		q := ask(t, c.name, c.param, "", c.body)
		base := keyOf(t, q)
		for part, want := range map[Revision]bool{
			{Strategy: "x", Settings: "t", Metrics: "m"}: c.strategy, {Strategy: "s", Settings: "x", Metrics: "m"}: c.settings, {Strategy: "s", Settings: "t", Metrics: "x"}: c.metrics,
		} {
			if key, err := q.Key([]Revision{part}, now); err != nil || (key != base) != want {
				t.Errorf("%s %+v: moved %v %v", c.name, part, key != base, err)
			}
		}
	}
}

func TestExactIDsAreKeyedAsSpelled(t *testing.T) {
	r := route(t, "backtest")
	key := func(body string, ids IDs) string {
		q, err := r.Parse("", "", []byte(body), ids)
		if err != nil {
			t.Fatal(err)
		}
		return keyOf(t, q)
	}
	a, b := `{"payload":{"id":"a","kind":"basic","collapsed":true}}`, `{"payload":{"id":"b","kind":"basic"}}`
	if key(a, Exact) == key(b, Exact) || key(a, ByOrder) != key(b, ByOrder) || key(a, Exact) == key(a, ByOrder) {
		t.Error("exact ids must count, and never share keys with renamed ones")
	}
	if key(`{"payload":{"id":"b","kind":"basic","collapsed":1}}`, Exact) != key(b, Exact) || key(`{"payload":"{\"kind\":\"basic\",\"id\":\"b\"}"}`, Exact) != key(b, Exact) {
		t.Error("all but the ids is canonical still")
	}
}
