package keying

import (
	"bytes"
	"testing"
)

// parsed reads a request on the route that path belongs to.
func parsedAt(t *testing.T, method, path, query, body string) *Request {
	t.Helper()
	route, param, ok := Match(method, path)
	if !ok {
		t.Fatalf("%s %s matches no route", method, path)
	}
	q, err := route.Parse(param, query, []byte(body), ByOrder)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return q
}

func TestRequestsThatMeanTheSameShareAnID(t *testing.T) {
	const run = "/api/bots/b/run-backtest"
	for name, pair := range map[string][2]*Request{
		"defaults":     {parsedAt(t, "POST", run, "", `{}`), parsedAt(t, "POST", run, "", `{"costBps":5,"mode":"CC","benchmarkTicker":"SPY"}`)},
		"forceRefresh": {parsedAt(t, "POST", run, "", `{"forceRefresh":true}`), parsedAt(t, "POST", run, "", ``)},
		"random ids":   {parsedAt(t, "POST", "/api/backtest", "", `{"payload":"{\"id\":\"node-1\",\"kind\":\"x\"}"}`), parsedAt(t, "POST", "/api/backtest", "", `{"payload":{"kind":"x","id":"node-2"}}`)},
		"limits":       {parsedAt(t, "GET", "/api/candles/spy", "limit=1500", ``), parsedAt(t, "GET", "/api/candles/SPY", "", ``)},
	} {
		if pair[0].ID() != pair[1].ID() {
			t.Errorf("%s: two IDs for one meaning", name)
		}
	}
}

func TestRequestsThatDifferHaveIDsThatDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, r := range [][4]string{
		{"POST", "/api/bots/b/run-backtest", "", `{}`},
		{"POST", "/api/bots/c/run-backtest", "", `{}`},
		{"POST", "/api/bots/b/run-backtest", "", `{"mode":"OO"}`},
		{"POST", "/api/bots/b/run-backtest", "", `{"costBps":0}`},
		{"POST", "/api/bots/b/sanity-report", "", `{}`},
		{"POST", "/api/correlation/optimize", "", `{"botIds":["a","b"]}`},
		{"POST", "/api/correlation/optimize", "", `{"botIds":["b","a"]}`},
		{"GET", "/api/candles/SPY", "", ``},
		{"GET", "/api/candles/SPY", "limit=60", ``},
		{"GET", "/api/benchmarks/metrics", "tickers=SPY", ``},
	} {
		id := parsedAt(t, r[0], r[1], r[2], r[3]).ID()
		if other, ok := seen[id]; ok {
			t.Errorf("%v and %s share an ID", r, other)
		}
		seen[id] = r[1] + r[3]
	}
}

func TestReplayedBodyMeansWhatTheReceivedOneMeant(t *testing.T) {
	for _, r := range [][4]string{
		{"POST", "/api/bots/b/run-backtest", "", `{"forceRefresh":true,"mode":"OO","unknown":[1.50,null]}`},
		{"POST", "/api/bots/b/run-backtest", "", ``},
		{"POST", "/api/bots/b/run-backtest", "", `{"unknown":{"b":1,"a":{"2":0,"d":1,"c":2}}}`},
		{"POST", "/api/bots/b/sanity-report", "", `{"mode":"OO","seed":7,"splitConfig":{"strategy":"x","enabled":true}}`},
		{"POST", "/api/correlation/recommend", "", `{"candidateBotIds":["x"]}`},
		{"POST", "/api/candles/batch", "", `{"tickers":["SPY"],"limit":99999}`},
		{"POST", "/api/backtest", "", `{"payload":"{\"id\":\"n\"}","costBps":0}`},
		{"POST", "/api/indicator-series", "", `{"conditions":[{"id":"c"}]}`},
		{"GET", "/api/candles/SPY", "limit=60", ``},
	} {
		q := parsedAt(t, r[0], r[1], r[2], r[3])
		body := q.Replay([]byte(r[3]))
		again := parsedAt(t, r[0], r[1], r[2], string(body))
		if again.ID() != q.ID() || again.Refresh {
			t.Errorf("%v is replayed as %s, which means something else", r, body)
		}
		if bytes.Contains(body, []byte("forceRefresh")) {
			t.Errorf("%v is replayed with forceRefresh", r)
		}
	}
}
