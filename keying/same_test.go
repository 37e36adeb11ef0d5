package keying

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestAnswersThatDifferOnlyInWhatIsVolatileAreTheSame(t *testing.T) {
	for _, c := range []struct{ route, a, b string }{
		{"run-backtest", `{"success":true,"cached":false,"metrics":{"cagr":0.1},"days":[{"date":"x"}],"compression":{"originalNodes":3,"compressionTimeMs":1.5}}`,
			`{"cachedAt":17,"metrics":{"cagr":1e-1},"cached":true,"success":true}`},
		{"run-backtest", `{"compression":{"originalNodes":3,"compressionTimeMs":1.5}}`, `{"compression":{"compressionTimeMs":2,"originalNodes":3.0}}`},
		{"backtest", `{"metrics":{},"compression":{"compressionTimeMs":1}}`, `{"compression":{"compressionTimeMs":2},"metrics":{}}`},
		{"bot-sanity", `{"report":{"meta":{"seed":42,"generatedAt":"a"}},"cached":false}`, `{"cached":true,"cachedAt":1,"report":{"meta":{"generatedAt":"b","seed":42}}}`},
		{"sanity", `{"report":{"meta":{"generatedAt":"a"}}}`, `{"report":{"meta":{"generatedAt":"b"}}}`},
		{"benchmarks", `{"dataDate":"Wed","benchmarks":{"SPY":{"beta":1},"QQQ":{}},"errors":["a","b"]}`,
			`{"benchmarks":{"QQQ":{},"SPY":{"beta":1.0}},"dataDate":"","errors":["b","a"]}`},
		{"candles-batch", `{"results":{"A":[1],"B":[2]},"errors":[]}`, `{"results":{"B":[2],"A":[1]}}`},
		{"candles-batch", `{"meta":{"requested":2,"elapsed":1,"cached":0,"fetched":2}}`, `{"meta":{"requested":2,"elapsed":3,"cached":2,"fetched":0}}`},
		{"candles", ` {"candles":[ {"a":1,"b":"\u00e9"} ]} `, `{"candles":[{"b":"é","a":1}]}`},
		{"candles", `{"a":-0,"b":10}`, `{"a":0,"b":1e1}`},
	} {
		q := &Request{Route: route(t, c.route)}
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if same, where, err := q.Same([]byte(pair[0]), []byte(pair[1])); !same || err != nil {
				t.Errorf("%s: %s and %s differ at %q, %v", c.route, pair[0], pair[1], where, err)
			}
		}
	}
}

func TestTheFirstDifferenceIsNamedAndNoValueIs(t *testing.T) {
	for _, c := range []struct{ route, a, b, where string }{
		{"run-backtest", `{"equityCurve":[{"date":"a","equity":1},{"date":"b","equity":2}]}`, `{"equityCurve":[{"date":"a","equity":1},{"equity":2.5,"date":"b"}]}`, "equityCurve[1].equity"},
		{"run-backtest", `{"equityCurve":[1,2]}`, `{"equityCurve":[1]}`, "equityCurve[1]"},
		{"run-backtest", `{"metrics":{"cagr":null}}`, `{"metrics":{"cagr":0}}`, "metrics.cagr"},
		{"run-backtest", `{"metrics":{"cagr":1}}`, `{"metrics":{}}`, "metrics.cagr"},
		{"run-backtest", `{"compression":{"originalNodes":3}}`, `{"compression":{"originalNodes":4}}`, "compression.originalNodes"},
		{"run-backtest", `{"allocations":[{"alloc":{"SECRET":1}}]}`, `{"allocations":[{"alloc":{"SECRET":0.5}}]}`, "allocations[0].alloc.*"},
		{"run-backtest", `{"days":[{"cached":1}]}`, `{"days":[{"cached":2}]}`, "days[0].cached"},
		{"backtest", `{"days":[]}`, `{}`, "days"},
		{"backtest", `{"cached":true}`, `{"cached":false}`, "cached"},
		{"bot-sanity", `{"report":{"meta":{"seed":42}}}`, `{"report":{"meta":{"seed":43}}}`, "report.meta.seed"},
		{"sanity", `{"report":{"strategyBetas":{"bot-7":1}}}`, `{"report":{"strategyBetas":{"bot-7":2}}}`, "report.strategyBetas.*"},
		{"benchmarks", `{"benchmarks":{"SPY":{"beta":1}}}`, `{"benchmarks":{"SPY":{"beta":2}}}`, "benchmarks.*.beta"},
		{"benchmarks", `{"errors":["a"]}`, `{}`, "errors"},
		{"benchmarks", `{"errors":["a","a"]}`, `{"errors":["a","b"]}`, "errors"},
		{"candles", `{"ticker":"SPY"}`, `{"ticker":"QQQ"}`, "ticker"},
		{"candles", `{"a":1e400}`, `{"a":2e400}`, "a"},
		{"candles", `{"a":true}`, `{"a":false}`, "a"},
		{"candles", `{"a":{}}`, `{"a":[]}`, "a"},
		{"candles", `[]`, `{}`, ""},
	} {
		q := &Request{Route: route(t, c.route)}
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			same, where, err := q.Same([]byte(pair[0]), []byte(pair[1]))
			if same || err != nil || where != c.where {
				t.Errorf("%s: %s and %s: same %v, %q, %v; want them to differ at %q", c.route, pair[0], pair[1], same, where, err, c.where)
			}
		}
	}
}

func TestWhatCantBeReadIsNeitherSameNorDifferent(t *testing.T) {
	deep := func(end string) string {
		return strings.Repeat(`{"a":`, maxAnswerDepth+2) + end + strings.Repeat("}", maxAnswerDepth+2)
	}
	q := &Request{Route: route(t, "candles")}
	for _, bad := range []string{``, `{`, `{"a":1,"a":2}`, `{} {}`, `<html>`, `{"a":[1,}`, "{\"a\":\"\xff\"}", deep("2")} {
		for _, pair := range [][2]string{{bad, deep("1")}, {deep("1"), bad}} {
			if same, where, err := q.Same([]byte(pair[0]), []byte(pair[1])); same || where != "" || err == nil {
				t.Errorf("%.40s: same %v, %q, %v", bad, same, where, err)
			}
		}
	}
	if same, _, err := q.Same([]byte(deep("1")), []byte(deep("1"))); !same || err != nil {
		t.Errorf("alike to the byte: same %v, %v", same, err)
	}
}

// FuzzSame: an answer is the same as itself in any spelling, and what is the same is so in both directions.
func FuzzSame(f *testing.F) {
	for i, b := range bodies {
		f.Add(i, []byte(b), []byte(bodies[(i+1)%len(bodies)]))
	}
	f.Add(0, []byte(`{"cached":true,"x":[1,{"y":2}]}`), []byte(`{"x":[1,{"y":2.0}],"cached":false}`))
	f.Fuzz(func(t *testing.T, n int, a, b []byte) {
		q := &Request{Route: routes[uint(n)%uint(len(routes))]}
		same, where, err := q.Same(a, b)
		back, _, errBack := q.Same(b, a)
		if same != back || (err == nil) != (errBack == nil) || same && where != "" {
			t.Fatalf("%q, %q: %v %q %v, and back %v %v", a, b, same, where, err, back, errBack)
		}
		v, err := parseObject(a)
		if err != nil {
			return
		}
		if same, where, err := q.Same(a, v.append(nil)); err == nil && !same {
			t.Fatalf("%q is not the same as its canonical form: %q", a, where)
		}
		if w, err := parseObject(b); err == nil && same && !alike(v, w) {
			t.Fatalf("%q and %q are called the same", a, b)
		}
	})
}

// alike compares by another decoder, without the names that may be volatile or absent anywhere.
func alike(a, b value) bool {
	var x, y any
	if json.Unmarshal(a.append(nil), &x) != nil || json.Unmarshal(b.append(nil), &y) != nil {
		return false
	}
	strip(x)
	strip(y)
	return reflect.DeepEqual(x, y)
}

func strip(v any) {
	top, ok := v.(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"cached", "cachedAt", "compression", "days", "report", "dataDate", "meta", "errors"} {
		delete(top, name)
	}
}

func BenchmarkSame(b *testing.B) {
	answer := func(ms int) []byte {
		var s strings.Builder
		fmt.Fprintf(&s, `{"success":true,"compression":{"compressionTimeMs":%d},"equityCurve":[`, ms)
		for i := range 40_000 {
			fmt.Fprintf(&s, `{"date":"2026-01-14","equity":%d.25,"holdings":[{"ticker":"SPY","weight":0.5}],"drawdown":0},`, i)
		}
		return []byte(s.String() + `{}]}`)
	}
	x, y := answer(1), answer(2)
	q := &Request{Route: route(b, "backtest")}
	b.SetBytes(int64(len(x) + len(y)))
	b.ReportAllocs()
	for b.Loop() {
		if same, where, err := q.Same(x, y); !same {
			b.Fatal(where, err)
		}
	}
}
