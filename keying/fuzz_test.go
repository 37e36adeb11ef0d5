package keying

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var bodies = []string{
	``, `{}`, ` {"a":1.0}`, `{"a":[1,2,{"b":null}],"\u0061b":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `{"a":1e400}`, `{"a":-0}`, `{"a":"\ud800"}`, "{\"a\":\"\x00\"}", "\ufeff{}",
	`{"payload":{"id":"a","parentNodeId":"a","x":"a b"}}`, `{"payload":"{\"id\":\"#0\",\"collapsed\":true}","costBps":0}`, `{"payload":"{}","customIndicators":[{"id":"x"}]}`,
	`{"botIds":["a","b"],"period":"1y"}`, `{"candidateBotIds":["a"],"limit":1e0}`, `{"tickers":["SPY"],"limit":5}`, `{"conditions":[{"id":"c","nodeId":"a"}],"payload":{"id":"a"}}`,
	`{"forceRefresh":true,"mode":"","costBps":null}`, `{"years":5,"seed":123456789012345678901234567890}`,
}

// FuzzCanonical: what is read has a canonical form that is its own, and equal forms are equal values.
func FuzzCanonical(f *testing.F) {
	for i, b := range bodies {
		f.Add([]byte(b), []byte(bodies[(i+1)%len(bodies)]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		va, err := parseObject(a)
		if err != nil {
			return
		}
		text := va.append(nil)
		again, err := parseObject(text)
		if err != nil || string(again.append(nil)) != string(text) {
			t.Fatalf("%q isn't canonical: %v", text, err)
		}
		sameValue(t, a, text)
		if vb, err := parseObject(b); err == nil && string(vb.append(nil)) == string(text) {
			sameValue(t, a, b)
		}
	})
}

// sameValue compares as JavaScript would: by another decoder, which reads numbers as doubles.
func sameValue(t *testing.T, a, b []byte) {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || !reflect.DeepEqual(x, y) {
		t.Fatalf("%q and %q are not the same value", a, b)
	}
}

// FuzzKey: no request panics, and a key has four parts of printable ASCII.
func FuzzKey(f *testing.F) {
	for i, b := range bodies {
		f.Add(i, "b1", "limit=5&tickers=a,b", []byte(b), "r")
		f.Add(i, "a:b/\n", "", []byte(b), "")
	}
	f.Fuzz(func(t *testing.T, n int, param, query string, body []byte, rev string) {
		for _, ids := range []IDs{ByOrder, Exact} {
			r := routes[uint(n)%uint(len(routes))]
			q, err := r.Parse(param, query, body, ids)
			if err != nil {
				if reason(err) == "" {
					t.Fatalf("%v has no reason", err)
				}
				continue
			}
			revs := make([]Revision, len(q.Bots))
			for i := range revs {
				revs[i] = Revision{Strategy: rev, Exact: rev, Settings: rev, Metrics: rev}
			}
			key, err := q.Key(revs, Data{Date: day, Generation: rev, Today: day})
			if err != nil {
				continue
			}
			parts := strings.Split(key, ":")
			if len(parts) != 4 || len(parts[1]) > maxBot || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
				t.Fatalf("key %q", key)
			}
			var v any
			if json.Unmarshal(q.meaning, &v) != nil {
				t.Fatalf("meaning %q", q.meaning)
			}
		}
	})
}

// FuzzMatch: what matches is a plain spelling, and its parameter can be read.
func FuzzMatch(f *testing.F) {
	for _, p := range []string{"/api/backtest", "/api/bots/b%2F1/run-backtest", "/api/bots/trash/sanity-report", "/api/candles/%5ESPY", "/api/candles/..", "/api/bots/%/run-backtest"} {
		f.Add("POST", p)
		f.Add("GET", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		r, param, ok := Match(method, path)
		if !ok {
			return
		}
		if r.Method != method || !strings.HasPrefix(path, r.prefix) || !strings.HasSuffix(path, r.suffix) || (param == "") != (r.param == noParam) {
			t.Fatalf("%s %q matched %s with %q", method, path, r.Name, param)
		}
		if r.param == botParam && (param == "trash" || param == "." || param == "..") {
			t.Fatalf("%q names no bot", path)
		}
		if _, err := r.Parse(param, "", nil, ByOrder); err != nil && reason(err) == "path" {
			t.Fatalf("%q matches but can't be parsed: %v", path, err)
		}
	})
}

// FuzzRenaming: names given to all ids that are not pinned, whatever the strategy, change no key.
func FuzzRenaming(f *testing.F) {
	for _, b := range append(bodies, gate, exits(`"node-1"`, `"unknown"`), `{"id":"a","children":{"x":[{"kind":"y","id":"b","parentNodeId":"a"}]}}`) {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := parseObject(payload)
		if err != nil || strings.Contains(string(payload), "zz") || strings.Contains(string(payload), "\\") {
			return
		}
		s := &speller{payload: &v, numbers: map[string]int{}}
		v.arrangeStrategy()
		if !s.collect(&v) {
			return
		}
		s.value(&v, place{})
		findMentions(s.ids, s.texts, func(n int) { s.pinned[n] = true })
		again, _ := parseObject(payload)
		var rename func(v *value, identifies bool)
		rename = func(v *value, identifies bool) {
			if n, ok := s.numbers[v.text]; ok && v.kind == '"' && identifies && !s.pinned[n] {
				v.text = fmt.Sprintf("zz%d", n)
			}
			for i := range v.kids {
				kid := &v.kids[i]
				rename(&kid.value, v.kind == '[' && identifies || v.kind == '{' && (kid.name == "id" && kid.kind == '"' || refers(kid.name) && kid.kind != '{'))
			}
		}
		rename(&again, false)
		renamed := again.append(nil)
		a, err1 := route(t, "backtest").Parse("", "", []byte(`{"payload":`+string(payload)+`}`), ByOrder)
		b, err2 := route(t, "backtest").Parse("", "", []byte(`{"payload":`+string(renamed)+`}`), ByOrder)
		if err1 != nil || err2 != nil {
			return
		}
		if a.ID() != b.ID() {
			t.Fatalf("%q and %q, renamed, make two keys: %q and %q", payload, renamed, a.meaning, b.meaning)
		}
	})
}

// FuzzJudge: no answer panics; what passes is one JSON object without an error in it.
func FuzzJudge(f *testing.F) {
	for i := range routes {
		f.Add(i, []byte(goodBacktest))
		f.Add(i, []byte(`{"success":true,"report":{"meta":{"years":5,"blockSize":7,"shards":10,"seed":42}}}`))
		f.Add(i, []byte(`{"success":true,"ticker":"SPY","candles":[{"time":1e9}],"results":{"SPY":[{"time":-1}]},"benchmarks":{"SPY":{}},"errors":[]}`))
		f.Add(i, []byte(`{"indicatorOverlays":[{"leftSeries":[{"date":"2026-01-14"}]}],"recommendations":[{}],"validBotIds":[1],"weights":[],"correlationMatrix":[],"portfolioMetrics":{}}`))
	}
	bodies := map[string]string{
		"backtest": `{"payload":{}}`, "sanity": `{"payload":{}}`, "correlation-optimize": `{"botIds":["a"]}`, "correlation-recommend": `{"candidateBotIds":["a"]}`,
		"indicator-series": `{"conditions":[{}]}`, "candles-batch": `{"tickers":["SPY"]}`,
	}
	f.Fuzz(func(t *testing.T, n int, body []byte) {
		r := routes[uint(n)%uint(len(routes))]
		query := ""
		if r.Kind == Benchmarks {
			query = "tickers=SPY"
		}
		verdict, err := ask(t, r.Name, []string{"", "b", "SPY"}[r.param], query, bodies[r.Name]).Judge(body)
		date := verdict.LastDate
		if err != nil {
			return
		}
		var v map[string]any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%q passes: %v", body, err)
		}
		if _, bad := v["error"]; bad || date != "" && !isDate(date) {
			t.Fatalf("%q passes with date %q", body, date)
		}
	})
}
