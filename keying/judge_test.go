package keying

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// verdict is a body and what Judge is to say of it: the last date, or "no".
type verdict struct{ body, want string }

func judge(t *testing.T, q *Request, list []verdict) {
	t.Helper()
	for _, c := range list {
		v, err := q.Judge([]byte(c.body))
		date := v.LastDate
		if err != nil {
			date = "no"
		}
		if date != c.want {
			t.Errorf("%s: %s: %q, want %q (%v)", q.Route.Name, clip(c.body), date, c.want, err)
		}
		if errors.Is(err, ErrNotKeyed) {
			t.Errorf("%s: a verdict on an answer is none on a request: %v", q.Route.Name, err)
		}
	}
}

const goodBacktest = `{"success":true,"cached":false,"metrics":{"cagr":0.1},"equityCurve":[{"date":"2026-01-13","equity":1},{"equity":2,"date":"2026-01-14"}],"benchmarkCurve":[],"allocations":[{"date":"2026-01-14","entries":[]}],"compression":{}}`

func TestABacktestSucceededWhenItShowsItsCurves(t *testing.T) {
	r := strings.NewReplacer
	for _, q := range []*Request{ask(t, "run-backtest", "b", "", ""), ask(t, "backtest", "", "", `{"payload":{}}`)} {
		judge(t, q, []verdict{
			{goodBacktest, "2026-01-14"},
			{" " + goodBacktest + "\n", "2026-01-14"},
			{r(`"cached":false`, `"errors":[]`).Replace(goodBacktest), "2026-01-14"},
			{r(`"cached":false`, `"errors":["x"]`).Replace(goodBacktest), "no"},
			{r(`"cached":false`, `"error":null`).Replace(goodBacktest), "no"},
			{r(`true`, `false`).Replace(goodBacktest), "no"},
			{r(`true`, `"true"`).Replace(goodBacktest), "no"},
			{r(`"metrics":{"cagr":0.1}`, `"metrics":null`).Replace(goodBacktest), "no"},
			{r(`"benchmarkCurve":[],`, ``).Replace(goodBacktest), "no"},
			{r(`"allocations":[`, `"allocations":{"a":[`, `}],"compression"`, `}]},"compression"`).Replace(goodBacktest), "no"},
			{r(`"date":"2026-01-14"}],"b`, `"date":"Jan 14"}],"b`).Replace(goodBacktest), "no"},
			{`{"success":true,"metrics":{},"equityCurve":[],"benchmarkCurve":[],"allocations":[]}`, "no"},
			{`{"success":true,"metrics":{},"equityCurve":[1],"benchmarkCurve":[],"allocations":[]}`, "no"},
			{`{"success":true,"metrics":{},"equityCurve":[null],"benchmarkCurve":[],"allocations":[]}`, "no"},
			{goodBacktest[:len(goodBacktest)-1], "no"}, {goodBacktest + "x", "no"}, {goodBacktest + goodBacktest, "no"},
			{"", "no"}, {"[]", "no"}, {"null", "no"}, {"<!doctype html>", "no"}, {"{}", "no"}, {`{"error":"Bot not found"}`, "no"},
			{r(`"cached":false`, `"success":true`).Replace(goodBacktest), "no"},
		})
	}
}

func TestASanityReportSaysTheOptionsThatWereAskedFor(t *testing.T) {
	report := func(meta string) string {
		return `{"success":true,"report":{"original":{},"meta":` + meta + `},"cached":true}`
	}
	good := `{"mcSimulations":200,"years":5,"blockSize":7.0,"shards":10,"seed":42,"generatedAt":"2026-01-14T00:00:00Z"}`
	for _, q := range []*Request{ask(t, "bot-sanity", "b", "", ""), ask(t, "sanity", "", "", `{"payload":{}}`)} {
		judge(t, q, []verdict{
			{report(good), ""}, {report(strings.Replace(good, "42", "43", 1)), "no"}, {report(strings.Replace(good, "42", `"42"`, 1)), "no"},
			{report(strings.Replace(good, `"years":5,`, "", 1)), "no"}, {report("null"), "no"}, {report("{}"), "no"},
			{`{"success":true,"report":{}}`, "no"}, {`{"success":true,"report":null}`, "no"}, {`{"success":true}`, "no"},
		})
	}
	judge(t, ask(t, "bot-sanity", "b", "", `{"seed":43}`), []verdict{{report(good), "no"}, {report(strings.Replace(good, "42", "43", 1)), ""}})
}

func TestWhatTheServersCacheForgetsIsBelievedOnlyFreshlyComputed(t *testing.T) {
	cached := strings.Replace(goodBacktest, `"cached":false`, `"cached":true,"cachedAt":1`, 1)
	judge(t, ask(t, "run-backtest", "b", "", ""), []verdict{{cached, "2026-01-14"}})
	judge(t, ask(t, "run-backtest", "b", "", `{"benchmarkTicker":"QQQ"}`), []verdict{{cached, "no"}, {goodBacktest, "2026-01-14"}})
	report := `{"success":true,"report":{"meta":{"years":5,"blockSize":7,"shards":10,"seed":42}},"cached":true}`
	fresh := strings.Replace(report, `"cached":true`, `"cached":false`, 1)
	judge(t, ask(t, "bot-sanity", "b", "", ""), []verdict{{report, ""}, {fresh, ""}})
	judge(t, ask(t, "bot-sanity", "b", "", `{"splitConfig":null}`), []verdict{{report, ""}})
	for _, body := range []string{`{"benchmarkTicker":"QQQ"}`, `{"benchmarkTicker":null}`, `{"splitConfig":{"enabled":true}}`} {
		judge(t, ask(t, "bot-sanity", "b", "", body), []verdict{{report, "no"}, {fresh, ""}})
	}
}

func TestBenchmarksAndBatchesCoverEveryTickerAskedFor(t *testing.T) {
	judge(t, ask(t, "benchmarks", "", "tickers=spy,QQQ,", ""), []verdict{
		{`{"success":true,"dataDate":"","benchmarks":{"QQQ":{},"SPY":{"beta":1}}}`, ""},
		{`{"success":true,"benchmarks":{"QQQ":{},"SPY":{}},"errors":[]}`, ""},
		{`{"success":true,"benchmarks":{"QQQ":{},"SPY":{}},"errors":["x"]}`, "no"},
		{`{"success":true,"benchmarks":{"QQQ":{},"SPY":null}}`, "no"},
		{`{"success":true,"benchmarks":{"QQQ":{}}}`, "no"}, {`{"success":true,"benchmarks":{}}`, "no"}, {`{"success":true,"benchmarks":[]}`, "no"},
	})
	judge(t, ask(t, "candles-batch", "", "", `{"tickers":["SPY","qqq"]}`), []verdict{
		{`{"success":true,"results":{"SPY":[{"time":1768262400}],"QQQ":[{"time":1},{"time":1768348800}]}}`, "2026-01-13"},
		{`{"success":true,"results":{"SPY":[{"time":1768262400}],"qqq":[{"time":1768262400}]}}`, "2026-01-13"},
		{`{"success":true,"results":{"SPY":[{"time":1}]},"errors":["QQQ: not found"]}`, "no"},
		{`{"success":true,"results":{"SPY":[{"time":1}],"QQQ":[]}}`, "no"}, {`{"success":true,"results":{"SPY":[{"time":1}]}}`, "no"},
	})
}

func TestCandlesAreOfTheTickerAskedFor(t *testing.T) {
	judge(t, ask(t, "candles", "spy", "", ""), []verdict{
		{`{"ticker":"SPY","candles":[{"time":1768262400},{"time":1768348800,"open":1}],"preview":[]}`, "2026-01-14"},
		{`{"ticker":"spy","candles":[{"time":1}]}`, "no"}, {`{"ticker":1,"candles":[{"time":1}]}`, "no"},
		{`{"ticker":"SPY","candles":[]}`, "no"}, {`{"ticker":"SPY","candles":[{"time":"1"}]}`, "no"}, {`{"ticker":"SPY","candles":[{}]}`, "no"}, {`{"ticker":"SPY","candles":[{"time":999999999999999}]}`, "no"},
		{`{"ticker":"SPY"}`, "no"}, {`{"candles":[{"time":1}]}`, "no"}, {`{"error":"x"}`, "no"},
	})
}

func TestIndicatorsAnswerEveryCondition(t *testing.T) {
	q := ask(t, "indicator-series", "", "", `{"conditions":[{"id":"a"},{"id":"b"}]}`)
	overlay := `{"conditionId":"a","leftSeries":[{"date":"2026-01-13","value":null},{"date":"%s","value":1}],"rightSeries":null}`
	a, b := fmt.Sprintf(overlay, "2026-01-14"), fmt.Sprintf(overlay, "2026-01-12")
	judge(t, q, []verdict{
		{`{"indicatorOverlays":[` + a + `,` + b + `]}`, "2026-01-12"}, {`{"indicatorOverlays":[{},{"leftSeries":null}]}`, ""},
		{`{"indicatorOverlays":[{"leftSeries":[]},{"leftSeries":[{"date":"soon"}]}]}`, ""},
		{`{"indicatorOverlays":[` + a + `]}`, "no"}, {`{"indicatorOverlays":[]}`, "no"}, {`{"indicatorOverlays":[1,2]}`, "no"}, {`{}`, "no"},
	})
	judge(t, ask(t, "indicator-series", "", "", ``), []verdict{{`{"indicatorOverlays":[]}`, "no"}})
}

func TestCorrelationsLeaveNoBotOut(t *testing.T) {
	judge(t, ask(t, "correlation-optimize", "", "", `{"botIds":["a","b"]}`), []verdict{
		{`{"validBotIds":["a","b"],"weights":[0.5,0.5],"correlationMatrix":[[1,0],[0,1]],"portfolioMetrics":{}}`, ""},
		{`{"validBotIds":["a"],"weights":[1],"correlationMatrix":[[1]],"portfolioMetrics":{}}`, "no"},
		{`{"validBotIds":["a","b"],"weights":[1],"portfolioMetrics":{}}`, "no"},
	})
	judge(t, ask(t, "correlation-recommend", "", "", `{"currentBotIds":["z"],"candidateBotIds":["a","b"],"limit":1}`), []verdict{
		{`{"recommendations":[{"botId":"a"}]}`, ""}, {`{"recommendations":[]}`, "no"}, {`{"recommendations":[{},{}]}`, "no"},
	})
	judge(t, ask(t, "correlation-recommend", "", "", `{"candidateBotIds":["a","b"]}`), []verdict{
		{`{"recommendations":[{},{}]}`, ""}, {`{"recommendations":[{}]}`, "no"}})
	judge(t, ask(t, "correlation-recommend", "", "", `{"candidateBotIds":[]}`), []verdict{{`{"recommendations":[]}`, ""}})
	judge(t, ask(t, "correlation-recommend", "", "", `{"candidateBotIds":["a"],"limit":"x"}`), []verdict{{`{"recommendations":[{}]}`, "no"}, {`{"recommendations":[]}`, "no"}})
}
