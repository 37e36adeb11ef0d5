package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The server loads each table when it is first asked for: the canary's may be newer than others.
func TestAnswerIsKeptForMinutesWhenATableThatItComesOfLacksTheNewestDay(t *testing.T) {
	const sanity = `{"success":true,"cached":false,"report":{"meta":{"years":5,"blockSize":7,"shards":10,"seed":42},"strategyBetas":{%s}}}`
	for name, c := range map[string]struct {
		betas string
		stale bool
	}{"the canary's only": {`"SPY":1`, false}, "another's too": {`"SPY":1,"GLD":0`, true}, "none": {``, false}} {
		s := &fakeServer{older: "GLD"}
		p := startProxy(t, s, nil)
		s.report = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, sanity, c.betas) }
		got := ask1(p, "/api/bots/bot-1/sanity-report", `{}`).Header().Get("Cache-Status")
		if strings.Contains(got, "provisional-tables-stale") != c.stale || !strings.Contains(got, "; stored") {
			t.Errorf("%s: Cache-Status %q, want stale tables %v", name, got, c.stale)
		}
	}
}

func TestBenchmarksFromARowThatIsNotWhatTheTablesSayAreKeptForMinutes(t *testing.T) {
	for tickers, stale := range map[string]bool{"SPY": false, "OLD": true, "OLD&startDate=2020-01-01": false, "GLD": true} {
		p := startProxy(t, &fakeServer{older: "GLD"}, nil)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", "/api/benchmarks/metrics?tickers="+tickers, nil))
		got := w.Header().Get("Cache-Status")
		if strings.Contains(got, "provisional-tables-stale") != stale || !strings.Contains(got, "; stored") {
			t.Errorf("%s: Cache-Status %q, want stale tables %v", tickers, got, stale)
		}
	}
}
