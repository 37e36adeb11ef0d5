package keying

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParseRunBacktest(b *testing.B) {
	r, body := route(b, "run-backtest"), []byte(`{"mode":"OO","costBps":3,"forceRefresh":false,"benchmarkTicker":"SPY"}`)
	b.ReportAllocs()
	for b.Loop() {
		q, err := r.Parse("bot-1", "", body, ByOrder)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := q.Key([]Revision{{Strategy: "s"}}, now); err != nil {
			b.Fatal(err)
		}
	}
}

// bigBacktest is a body of about 100 kB as the browser sends it.
func bigBacktest(id func(int) string) []byte {
	var nodes []string
	for i := 0; i < 300; i++ {
		nodes = append(nodes, fmt.Sprintf(`{"id":%q,"kind":"indicator","title":"Node %d","collapsed":false,"bgColor":"#fff","weighting":"equal","conditions":[{"id":%q,"type":"if","ticker":"SPY","metric":"Relative Strength Index","window":14,"comparator":"gt","threshold":30.5,"expanded":false,"parentNodeId":%q}],"children":{"then":[null],"else":[null]}}`,
			id(2*i), i, id(2*i+1), id(2*i)))
	}
	payload := `{"id":"root","kind":"basic","children":{"next":[` + strings.Join(nodes, ",") + `]}}`
	return []byte(`{"payload":` + quoted(payload) + `,"mode":"CC","costBps":5,"customIndicators":[],"benchmarkTicker":"SPY"}`)
}

func BenchmarkParseBacktest100KB(b *testing.B) {
	r, body := route(b, "backtest"), bigBacktest(random(1))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		q, err := r.Parse("", "", body, ByOrder)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := q.Key(nil, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJudgeBacktest5MB(b *testing.B) {
	row := `{"date":"2026-01-14","equity":1.2345678901234567,"holdings":[{"ticker":"SPY","weight":0.5}],"turnover":0.25},`
	rows := strings.TrimSuffix(strings.Repeat(row, 5<<20/len(row)/2), ",")
	body := []byte(`{"success":true,"metrics":{},"equityCurve":[` + rows + `],"benchmarkCurve":[],"allocations":[],"days":[` + rows + `]}`)
	q := ask(b, "run-backtest", "b", "", "")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Judge(body); err != nil {
			b.Fatal(err)
		}
	}
}

func TestABodyAsTheBrowserSendsItHasOneKeyWhateverItsIDs(t *testing.T) {
	a, b := bigBacktest(random(1)), bigBacktest(random(2))
	if len(a) < 90_000 || string(a) == string(b) {
		t.Fatal("not what the test is about")
	}
	if post(t, "backtest", string(a)) != post(t, "backtest", string(b)) {
		t.Error("renamed ids make another key")
	}
}
