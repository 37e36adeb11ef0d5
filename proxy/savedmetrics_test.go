package proxy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"warmfront/proxy/store"
)

func TestMetricsAreFoundInWhateverFormTheyAreStored(t *testing.T) {
	plain := []byte(`{"x":[{"metrics":{"cagr":9}}],"metrics":{"cagr":0.10,"beta":null,"name":"é\"","n":-1E-7},"equityCurve":[` +
		strings.Repeat(`{"date":"2026-01-14","equity":1},`, 5000) + `{}]}`)
	z, err := compress(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*store.Entry{{Body: plain}, {Body: z, Gzip: true}} {
		m, err := metricsIn(e, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.object()); got != `{"cagr":0.10,"name":"é\"","n":-1E-7}` {
			t.Errorf("found %s", got)
		}
		for shown, want := range map[string]bool{
			`{"n":-0.0000001,"cagr":0.1,"name":"é\"","beta":3}`: true, `{"cagr":0.1,"name":"é\""}`: true, `{}`: false, `null`: false,
			`{"n":-1e-7,"cagr":0.1,"name":"x"}`: false, `{"n":-1e-7,"cagr":null,"name":"é\""}`: false,
		} {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(shown), &fields); err != nil {
				t.Fatal(err)
			}
			if got := m.shownIn(fields); got != want {
				t.Errorf("%s shows them: %v, want %v", shown, got, want)
			}
		}
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"metrics":null}`, `{"metrics":[1]}`, `{"metrics":{}}`, `{"metrics":{"a":1`, `{"a":`} {
		if m, err := metricsIn(&store.Entry{Body: []byte(bad)}, 1<<20); !errors.Is(err, errNoMetrics) {
			t.Errorf("%s: %s, %v", bad, m.object(), err)
		}
	}
}

func TestSavedMetricsAreRecognisedAsTheServerShowsThem(t *testing.T) {
	m, err := metricsIn(&store.Entry{Body: []byte(`{"metrics":{"cagr":0.1,"maxDrawdown":-0.30000000000000004,"sharpeRatio":1.5,"beta":0.9,"bestDay":0.04,` +
		`"worstDay":-0.05,"tradingDays":2520,"treynorRatio":null}}`)}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	row := `"id":3,"bot_id":"b1","cagr":0.1,"max_drawdown":-0.30000000000000004,"sharpe_ratio":1.5,"trading_days":2520.0,"last_backtest_at":"2026-01-14 10:00:00"`
	for shown, want := range map[string]bool{
		`{` + row + `}`:                                                        true,
		`{` + row + `,"treynor_ratio":null}`:                                   true,
		`{` + row + `,"beta":0.9}`:                                             true,
		`{` + row + `,"beta":0.8}`:                                             false,
		`{` + row + `,"best_day":0.05}`:                                        false,
		`{` + strings.Replace(row, "1.5", "1.4999999999999998", 1) + `}`:       false,
		`{` + strings.Replace(row, `0.1,`, `1e-1,`, 1) + `}`:                   true,
		`{` + strings.Replace(row, `1.5`, `null`, 1) + `}`:                     false,
		`{"id":3,"bot_id":"b1","last_backtest_at":null,"updated_at":17000000}`: false,
	} {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(shown), &fields); err != nil {
			t.Fatal(err)
		}
		if got := m.shownIn(fields); got != want {
			t.Errorf("%s shows %s: %v, want %v", shown, m.object(), got, want)
		}
	}
}

func TestWhatMovesSavedMetricsIsKnown(t *testing.T) {
	for _, c := range []struct {
		method, target, bot string
		moves               bool
	}{
		{"GET", "/api/bots/b1/metrics", "", false}, {"PUT", "/api/bots/b1/metrics", "b1", true}, {"PUT", "/API/bots/b1/Metrics/", "b1", true},
		{"PUT", "/api/bots/b1", "", false}, {"PUT", "/api/bots/b1/", "", false}, {"POST", "/api/bots", "", false},
		{"DELETE", "/api/bots/b1", "b1", true}, {"POST", "/API/bots/b1/run-backtest", "b1", true}, {"POST", "/api/bots/b1/restore", "b1", true},
		{"POST", "/api/admin/cache/prewarm", "", true}, {"GET", "/api/admin/cache/prewarm", "", false}, {"POST", "/api/live/orders", "", false},
		{"PUT", "/api//bots/b1/metrics", "", true},
	} {
		bot, moves := movesMetrics(c.method, c.target)
		if bot != c.bot || moves != c.moves {
			t.Errorf("%s %s: moves %v of %q, want %v of %q", c.method, c.target, moves, bot, c.moves, c.bot)
		}
	}
}
