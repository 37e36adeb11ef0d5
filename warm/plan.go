package warm

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"warmfront/keying"
)

// The stages of a run, in the order of the server's own nightly jobs: each finds warm what it builds on.
const (
	stageWaiting    = "waiting" // for the data to settle
	stageListing    = "listing" // of bots, and reading of the journal
	stageCandles    = "candles"
	stageIndicators = "indicators"
	stageBacktests  = "backtests"
	stageBenchmarks = "benchmarks"
	stageReports    = "reports" // correlations and sanity reports
)

var stages = []string{stageCandles, stageIndicators, stageBacktests, stageBenchmarks, stageReports}

// A group is what has an order inside: it is asked one after the other.
type group struct {
	requests []*request
	worth    float64
}

// A plan is what a run is to ask, by stage.
type plan map[string][]*group

// left is how many requests there are besides those that are done.
func (p plan) left(done map[string]bool) (n int) {
	for _, groups := range p {
		for _, g := range groups {
			for _, r := range g.requests {
				if !done[r.id] {
					n++
				}
			}
		}
	}
	return n
}

// stored is the request for a bot's backtest in its own mode and at its own costs, as the browser
// sends it.
func (b *bot) stored() (*request, error) {
	mode, err := json.Marshal(b.mode)
	if err != nil {
		return nil, err
	}
	a := &asked{
		Method: "POST", Target: "/api/bots/" + url.PathEscape(b.id) + "/run-backtest", Bots: []string{b.id},
		Body: `{"mode":` + string(mode) + `,"costBps":` + string(b.costBps) + `,"forceRefresh":false,"benchmarkTicker":"SPY"}`,
	}
	return a.request()
}

func (a *asked) request() (*request, error) {
	q, err := a.parse()
	if err != nil {
		return nil, err
	}
	return &request{id: q.ID(), route: q.Route.Name, bot: q.Bot, bots: q.Bots, asked: a}, nil
}

// benchmarks is asked in every run, and before the reports: it makes the server load what sanity
// reports compare with (details, section 1, R3).
var benchmarks = &asked{Method: "GET", Target: "/api/benchmarks/metrics"}

// makePlan plans a run over the bots that live and the entries of the journal. gone are the entries
// that have no place any more.
func makePlan(bots map[string]bot, entries []Entry, now time.Time) (p plan, gone []string) {
	b := &planner{plan: plan{}, byBot: map[string]*group{}, reported: map[string]bool{}, seen: map[string]*request{}, now: now}
	for i := range entries {
		if !b.take(&entries[i], bots) {
			gone = append(gone, entries[i].ID)
		}
	}
	b.report()
	for _, id := range slices.Sorted(maps.Keys(bots)) {
		one := bots[id]
		if one.deleted {
			continue
		}
		if r, err := one.stored(); err == nil {
			b.putLast(r)
		}
	}
	if r, err := benchmarks.request(); err == nil {
		if b.seen[r.id] == nil {
			b.put(stageBenchmarks, &group{requests: []*request{r}})
		}
	}
	b.order()
	return b.plan, gone
}

type planner struct {
	plan     plan
	byBot    map[string]*group // the backtests of each saved bot
	reported map[string]bool   // bots with a sanity report in the journal
	seen     map[string]*request
	now      time.Time
}

// take puts an entry of the journal in its place; false when it has none.
func (b *planner) take(e *Entry, bots map[string]bot) bool {
	a, err := unpack(e.packed)
	if err != nil {
		return false
	}
	for _, id := range a.Bots {
		if bots[id].deleted {
			return false
		}
	}
	path, _, _ := strings.Cut(a.Target, "?")
	route, param, ok := keying.Match(a.Method, path)
	if !ok {
		return false
	}
	r := &request{id: e.ID, route: route.Name, bots: a.Bots, took: e.Took, worth: worth(e.Score, b.now), entry: e}
	if len(a.Bots) == 1 && a.Bots[0] == param {
		r.bot = param
	}
	stage := stageOf(route)
	b.seen[r.id] = r
	if route.Kind == keying.Sanity && r.bot != "" {
		b.reported[r.bot] = true
	}
	if stage == stageBacktests && r.bot != "" {
		g := b.ofBot(r.bot)
		g.requests = append(g.requests, r)
		return true
	}
	b.put(stage, &group{requests: []*request{r}})
	return true
}

func stageOf(route *keying.Route) string {
	switch route.Kind {
	case keying.Candles:
		return stageCandles
	case keying.Indicators:
		return stageIndicators
	case keying.Backtest:
		return stageBacktests
	case keying.Benchmarks:
		return stageBenchmarks
	}
	return stageReports
}

func (b *planner) ofBot(id string) *group {
	g := b.byBot[id]
	if g == nil {
		g = &group{}
		b.byBot[id] = g
		b.put(stageBacktests, g)
	}
	return g
}

func (b *planner) put(stage string, g *group) { b.plan[stage] = append(b.plan[stage], g) }

// report plans a sanity report with default options for every bot that users have backtested, if they
// look at sanity reports at all. Not for one whose report they asked for otherwise: the server's cache
// forgets the options, and the first to ask decides (contract, trap 6). Bots that nobody has asked for
// get none: a report costs as much as several backtests.
func (b *planner) report() {
	if len(b.reported) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(b.byBot)) {
		if b.reported[id] {
			continue
		}
		a := &asked{Method: "POST", Target: "/api/bots/" + url.PathEscape(id) + "/sanity-report", Body: `{}`, Bots: []string{id}}
		if r, err := a.request(); err == nil {
			b.put(stageReports, &group{requests: []*request{r}})
		}
	}
}

// putLast makes r the last backtest of its bot: the server saves the metrics of the last one that it
// ran, and those should be the bot's own (contract, trap 7).
func (b *planner) putLast(r *request) {
	if known := b.seen[r.id]; known != nil {
		known.last = true
		return
	}
	r.last = true
	g := b.ofBot(r.bot)
	g.requests = append(g.requests, r)
}

func (g *group) order() {
	g.worth = 0
	for _, r := range g.requests {
		g.worth += r.worth
	}
	slices.SortStableFunc(g.requests, func(x, y *request) int {
		switch {
		case x.last:
			return 1
		case y.last:
			return -1
		}
		return cmp.Or(cmp.Compare(y.worth, x.worth), cmp.Compare(x.id, y.id))
	})
}

// order puts the most valuable of each stage first.
func (b *planner) order() {
	for _, groups := range b.plan {
		for _, g := range groups {
			g.order()
		}
		slices.SortStableFunc(groups, func(x, y *group) int { return cmp.Compare(y.worth, x.worth) })
	}
}
