package proxy

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"warmfront/keying"
	"warmfront/keying/rule"
)

// maxTables bounds the tickers whose tables are asked for.
const maxTables = 50

// tablesStale reports whether the answer may come of benchmark tables, or of a row made of them, from before the data
// changed. The server loads each when somebody first asks for its ticker: that the canary's has the newest day
// proves nothing of others.
func (p *Proxy) tablesStale(ctx context.Context, a *ask, plain []byte) bool {
	if a.data.TablesStale || rule.Off(rule.TablesAsked) {
		return a.data.TablesStale
	}
	tickers := a.request.Tickers
	if a.request.Route.Kind == keying.Sanity {
		tickers = betasOf(plain)
	}
	switch {
	case len(tickers) == 0:
		return false
	case len(tickers) > maxTables || p.data.TablesLack(ctx, tickers, a.data.Date):
		return true
	}
	query := a.in.URL.Query()
	return a.request.Route.Kind == keying.Benchmarks && !query.Has("startDate") && !query.Has("endDate") && p.data.RowsDiffer(ctx, tickers, plain)
}

// betasOf gives the tickers that a sanity report compares the strategy with, sorted: it looks at their tables.
func betasOf(report []byte) []string {
	var said struct {
		Report struct {
			Betas   map[string]json.RawMessage `json:"strategyBetas"`
			Metrics map[string]json.RawMessage `json:"benchmarkMetrics"`
		} `json:"report"`
	}
	if keying.ReadJSON(report, &said) != nil {
		return nil
	}
	tickers := map[string]bool{}
	for _, found := range []map[string]json.RawMessage{said.Report.Betas, said.Report.Metrics} {
		for ticker := range found {
			tickers[ticker] = true
		}
	}
	return slices.Sorted(maps.Keys(tickers))
}
