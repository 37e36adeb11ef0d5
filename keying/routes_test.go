package keying

import (
	"strings"
	"testing"
)

func TestExactSpellingsMatchTheirRoute(t *testing.T) {
	for _, c := range []struct{ method, path, name, param string }{
		{"POST", "/api/bots/b1/run-backtest", "run-backtest", "b1"},
		{"POST", "/api/bots/a%2Fb%3Ac/run-backtest", "run-backtest", "a/b:c"},
		{"POST", "/api/bots/a:b/run-backtest", "run-backtest", "a:b"},
		{"POST", "/api/bots/%0A/run-backtest", "run-backtest", "\n"},
		{"POST", "/api/bots/a+b/run-backtest", "run-backtest", "a+b"},
		{"POST", "/api/bots/%F0%9F%90%BB/sanity-report", "bot-sanity", "🐻"},
		{"POST", "/api/bots/Trash/sanity-report", "bot-sanity", "Trash"},
		{"POST", "/api/backtest", "backtest", ""},
		{"POST", "/api/sanity-report", "sanity", ""},
		{"POST", "/api/correlation/optimize", "correlation-optimize", ""},
		{"POST", "/api/correlation/recommend", "correlation-recommend", ""},
		{"POST", "/api/indicator-series", "indicator-series", ""},
		{"GET", "/api/benchmarks/metrics", "benchmarks", ""},
		{"GET", "/api/candles/SPY", "candles", "SPY"},
		{"GET", "/api/candles/batch", "candles", "batch"},
		{"GET", "/api/candles/BC%2FPC", "candles", "BC/PC"},
		{"GET", "/api/candles/trash", "candles", "trash"},
		{"POST", "/api/candles/batch", "candles-batch", ""},
	} {
		r, param, ok := Match(c.method, c.path)
		if !ok || r.Name != c.name || param != c.param {
			t.Errorf("%s %s: got %+v %q %v", c.method, c.path, r, param, ok)
		}
	}
}

func TestEverythingElsePassesThrough(t *testing.T) {
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/backtest"}, {"PUT", "/api/backtest"}, {"post", "/api/backtest"}, {"HEAD", "/api/candles/SPY"},
		{"OPTIONS", "/api/backtest"}, {"POST", "/api/backtest/"}, {"POST", "/API/backtest"}, {"POST", "//api/backtest"},
		{"POST", "/api/Backtest"}, {"POST", "/api/%62acktest"}, {"POST", "/api/bots/trash/run-backtest"},
		{"POST", "/api/bots/%74rash/sanity-report"}, {"POST", "/api/bots//run-backtest"}, {"POST", "/api/bots/./run-backtest"},
		{"POST", "/api/bots/../run-backtest"}, {"POST", "/api/bots/%2e%2E/run-backtest"}, {"POST", "/api/bots/a/b/run-backtest"},
		{"POST", "/api/bots/%zz/run-backtest"}, {"POST", "/api/bots/%/run-backtest"}, {"POST", "/api/bots/%FF/run-backtest"},
		{"POST", "/api/bots/\xff/run-backtest"}, {"POST", "/api/bots/a b/run-backtest"}, {"POST", "/api/bots/a\\b/run-backtest"},
		{"POST", "/api/bots/%ED%A0%80/run-backtest"}, {"POST", "/api/bots/b1/run-backtest/"}, {"POST", "/api/bots/b1/Run-Backtest"},
		{"POST", "/api/bots/run-backtest"}, {"GET", "/api/candles/"}, {"GET", "/api/candles"}, {"GET", "/api/candles/SPY/"},
		{"GET", "/api/candles/.."}, {"GET", "/api/bots/b1"}, {"GET", "/"}, {"GET", ""}, {"POST", "/api/candles/SPY"},
	} {
		if r, param, ok := Match(c.method, c.path); ok {
			t.Errorf("%s %q matched %s %q", c.method, c.path, r.Name, param)
		}
	}
}

func TestRoutesHaveDistinctNamesAndTheTableStaysReadOnly(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Routes() {
		if seen[r.Name] || r.Name == "" {
			t.Errorf("name %q is not its route's own", r.Name)
		}
		seen[r.Name] = true
	}
	Routes()[0] = nil
	if Routes()[0] == nil {
		t.Error("a caller can change the table")
	}
}

func TestNoBotIDReachesIntoAnotherPartOfAKey(t *testing.T) {
	ids := []string{
		"-", "--", "%2D", ":", "a:b", "a%3Ab", "a/b", "a%2Fb", "..a", "\n", "\r\n", " ", "\x00", "~", "~" + hash([]byte("a")), "{a}", "*",
		"ü", strings.Repeat("x", 200), strings.Repeat("x", 201), strings.Repeat("x", 4096), strings.Repeat("x", 4095) + "y",
		"~" + hash([]byte(strings.Repeat("x", 201))), "a.b", "a_b", "A_b",
	}
	seen := map[string]string{}
	for _, id := range ids {
		part := strings.Split(keyOf(t, ask(t, "run-backtest", id, "", "")), ":")
		if len(part) != 4 || part[0] != "backtest" || part[1] == "-" || len(part[1]) > maxBot || len(part[2]) != 64 || part[3] != day {
			t.Errorf("id %q: key parts %q", clip(id), part)
		}
		if strings.Trim(part[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-%~") != "" {
			t.Errorf("id %q is spelled %q", clip(id), part[1])
		}
		if other, ok := seen[part[1]]; ok {
			t.Errorf("ids %q and %q are both spelled %q", clip(id), clip(other), part[1])
		}
		seen[part[1]] = id
	}
}
