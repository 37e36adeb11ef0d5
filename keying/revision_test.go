package keying

import (
	"strings"
	"testing"
)

func revision(t testing.TB, bot string) Revision {
	t.Helper()
	rev, err := RevisionOf([]byte(bot))
	if err != nil {
		t.Fatalf("%s: %v", clip(bot), err)
	}
	return rev
}

func TestASavedBotThatSaysTheSameHasTheSameRevision(t *testing.T) {
	base := `{"bot":{"id":"b","payload":` + quoted(strategy) + `,"backtestMode":"CC","backtestCostBps":5,"updatedAt":"1","metrics":{"cagr":0.1,"lastBacktestAt":1}}}`
	for _, other := range []string{
		`{"payload":` + strategy + `,"backtestCostBps":5.0,"backtestMode":"CC","updatedAt":"2","metrics":{"updatedAt":9,"computed_at":3,"cagr":1e-1}}`,
		`{"bot":{"tags":["x"],"payload":` + quoted(" "+strings.ReplaceAll(strategy, "n1", "zz")) + `,"backtestMode":"CC","backtestCostBps":5,"metrics":{"cagr":0.1}}}`,
	} {
		a, b := revision(t, base), revision(t, other)
		if b.Exact = a.Exact; a != b { // ids as spelled are another question
			t.Errorf("%s: %+v, not %+v", other, b, a)
		}
	}
}

func TestSavedMetricsAreTheSameInEitherSpelling(t *testing.T) {
	of := func(metrics string) string { return revision(t, `{"payload":{"a":1},"metrics":`+metrics+`}`).Metrics }
	row := of(`{"max_drawdown":-0.1,"sharpe_ratio":1.5,"cagr":0.2,"updated_at":"2026-01-01","last_backtest_at":1}`)
	for _, same := range []string{`{"cagr":0.2,"maxDrawdown":-0.1,"sharpeRatio":1.5}`, `{"sharpeRatio":1.50,"lastBacktestAt":9,"cagr":0.2,"max_drawdown":-1e-1}`} {
		if of(same) != row {
			t.Errorf("%s isn't the same as the row", same)
		}
	}
	for _, other := range []string{
		`{"cagr":0.2,"maxDrawdown":-0.1}`, `{"cagr":0.2,"maxDrawdown":-0.1,"sharpeRatio":1.5,"beta":null}`, `{"cagr":0.2,"maxDrawdown":-0.1,"sharpeRatio":1.6}`,
		`{"cagr":0.2,"maxDrawdown":-0.1,"max_drawdown":-0.1,"sharpeRatio":1.5}`, `{"cagr":0.2,"maxdrawdown":-0.1,"sharpeRatio":1.5}`, `null`, `[]`,
	} {
		if of(other) == row {
			t.Errorf("%s is the same as the row", other)
		}
	}
}

func TestEveryEditThatCountsMovesItsPartOfTheRevision(t *testing.T) {
	base := `{"payload":{"a":1},"backtestMode":"CC","backtestCostBps":5,"metrics":{"cagr":0.1}}`
	a := revision(t, base)
	for old, edited := range map[string]string{`{"a":1}`: `{"a":2}`, `"CC"`: `"OO"`, `:5`: `:0`, `0.1`: `0.2`} {
		b := revision(t, strings.Replace(base, old, edited, 1))
		moved := Revision{}
		if a.Strategy != b.Strategy {
			moved.Strategy = "moved"
		}
		if a.Settings != b.Settings {
			moved.Settings = "moved"
		}
		if a.Metrics != b.Metrics {
			moved.Metrics = "moved"
		}
		want := map[string]Revision{`{"a":1}`: {Strategy: "moved"}, `"CC"`: {Settings: "moved"}, `:5`: {Settings: "moved"}, `0.1`: {Metrics: "moved"}}[old]
		if moved != want {
			t.Errorf("%s to %s: moved %+v", old, edited, moved)
		}
	}
}

func TestAHiddenPayloadCountsByItsTime(t *testing.T) {
	for _, payload := range []string{``, `"payload":null,`, `"payload":"",`, `"payload":{},`, `"payload":"{}",`} {
		a, b := revision(t, `{`+payload+`"updatedAt":"1"}`), revision(t, `{`+payload+`"updated_at":2}`)
		if a.Strategy != "updatedAt:1" || a.Settings != "updatedAt:1" || b.Strategy != "updatedAt:2" {
			t.Errorf("%q: %+v %+v", payload, a, b)
		}
	}
}

func TestAPayloadThatIsNoJSONCountsAsItIsSpelled(t *testing.T) {
	a, b := revision(t, `{"payload":"H4sI"}`), revision(t, `{"payload":"H4sJ"}`)
	if a.Strategy == b.Strategy || a.Strategy == "" || a.Settings != "" {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestABotThatShowsNothingHasNoRevision(t *testing.T) {
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"bot":{}}`, `{"bot":null}`, `{"error":"Bot not found"}`, `{"updatedAt":""}`, `{"updatedAt":null}`, `<html>`, `{"payload":{"a":1},"payload":{}}`} {
		if rev, err := RevisionOf([]byte(body)); err == nil || rev != (Revision{}) {
			t.Errorf("%s: %+v", body, rev)
		}
	}
}

func TestExactRevisionsTellRenamedStrategiesApart(t *testing.T) {
	a, b := revision(t, `{"payload":{"id":"a","kind":"basic"}}`), revision(t, `{"payload":{"id":"b","kind":"basic","bgColor":1}}`)
	if a.Exact == b.Exact || a.Exact == "" || a.Strategy != b.Strategy {
		t.Errorf("%+v %+v", a, b)
	}
	for _, ids := range []IDs{ByOrder, Exact} {
		q, err := route(t, "run-backtest").Parse("b1", "", nil, ids)
		if err != nil {
			t.Fatal(err)
		}
		x, err1 := q.Key([]Revision{a}, now)
		y, err2 := q.Key([]Revision{b}, now)
		if err1 != nil || err2 != nil || (x == y) != (ids == ByOrder) {
			t.Errorf("ids %d: %s and %s, %v %v", ids, x, y, err1, err2)
		}
	}
}

func TestARevisionWithoutItsExactFormIsNeverKeyedExactly(t *testing.T) {
	q, err := route(t, "run-backtest").Parse("b1", "", nil, Exact)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := q.Key([]Revision{{Strategy: "s"}}, now); err == nil {
		t.Errorf("keyed as %s", key)
	}
}

func TestSpellingTellsApartWhatOnlyIDsDo(t *testing.T) {
	tree := func(id, color string) string {
		return `{"payload":` + quoted(`{"id":"`+id+`","kind":"basic","bgColor":"`+color+`"}`) + `}`
	}
	rev := []Revision{{Strategy: "s", Exact: "e"}}
	spelled := func(name, param, body string, revs []Revision) string {
		return ask(t, name, param, "", body).Spelling(revs)
	}
	for _, c := range []struct {
		what, a, b string
		same       bool
	}{
		{"another id", spelled("backtest", "", tree("a", "x"), nil), spelled("backtest", "", tree("b", "x"), nil), false},
		{"another colour", spelled("backtest", "", tree("a", "x"), nil), spelled("backtest", "", tree("a", "y"), nil), true},
		{"a default", spelled("run-backtest", "b", `{}`, rev), spelled("run-backtest", "b", `{"mode":"CC"}`, rev), true},
		{"a saved bot's ids", spelled("run-backtest", "b", `{}`, rev), spelled("run-backtest", "b", `{}`, []Revision{{Strategy: "s", Exact: "f"}}), false},
	} {
		if (c.a == c.b) != c.same {
			t.Errorf("%s: %s and %s, want the same: %v", c.what, c.a, c.b, c.same)
		}
	}
}
