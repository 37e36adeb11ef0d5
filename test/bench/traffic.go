package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"warmfront/test/harness"
)

// A world is the bots that there are, with their strategies.
type world struct {
	bots  []string
	trees []any
}

// populate makes bots beside the server's own, each with a strategy of its own.
func populate(ctx context.Context, c *http.Client, up *harness.Upstream, n int) (*world, error) {
	w := &world{}
	for i := range n {
		tree, err := up.Strategy(ctx, fmt.Sprintf("bot-%d", 7+i%6)) // those that show it to anyone
		if err != nil {
			return nil, err
		}
		windows(tree, i)
		id := fmt.Sprintf("bench-%03d", i)
		payload, err := json.Marshal(tree)
		if err != nil {
			return nil, err
		}
		body := fmt.Sprintf(`{"id":%q,"ownerId":"owner-%d","name":%q,"visibility":"private","payload":%s}`, id, i%9, id, harness.Quote(string(payload)))
		a, err := harness.Send(ctx, c, harness.Request{Method: "POST", URL: up.URL + "/api/bots", Body: []byte(body)})
		if err != nil || a.Status/100 != 2 {
			return nil, fmt.Errorf("making a bot: %w\n%v", err, a)
		}
		w.bots, w.trees = append(w.bots, id), append(w.trees, tree)
	}
	return w, nil
}

// windows makes a strategy another one: by gives each of its windows another length.
func windows(v any, by int) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["metric"]; ok {
			if n, ok := v["window"].(float64); ok && n > 1 {
				v["window"] = n + float64(by)
			}
		}
		for _, field := range v {
			windows(field, by)
		}
	case []any:
		for _, e := range v {
			windows(e, by)
		}
	}
}

// A draw is a request of a day. New is one that cannot have been asked before.
type draw struct {
	harness.Request
	isNew bool
}

// day draws n requests: bots by Zipf's law, as people look at a few of them most of the time, and what
// they do with them as the server's front end offers it. One in a hundred tries out a new strategy.
func (w *world) day(base string, seed uint64, n int) []draw {
	r := rand.New(rand.NewPCG(seed, 7))
	zipf := rand.NewZipf(r, 1.2, 2, uint64(len(w.bots)-1))
	draws := make([]draw, 0, n)
	post := func(path, body string) draw {
		return draw{Request: harness.Request{Method: "POST", URL: base + path, Body: []byte(body)}}
	}
	for i := range n {
		k := int(zipf.Uint64())
		bot := w.bots[k]
		switch p := r.IntN(100); {
		case p < 60:
			draws = append(draws, post("/api/bots/"+bot+"/run-backtest", `{"mode":"CC","costBps":5,"forceRefresh":false,"benchmarkTicker":"SPY"}`))
		case p < 66: // the variants that people compare with
			draws = append(draws, post("/api/bots/"+bot+"/run-backtest", []string{`{"mode":"OO"}`, `{"costBps":0}`}[r.IntN(2)]))
		case p < 76:
			draws = append(draws, post("/api/backtest", `{"payload":`+harness.Quote(harness.FreshIDs(w.trees[k]))+`,"mode":"CC","costBps":5}`))
		case p < 77:
			d := post("/api/backtest", `{"payload":`+harness.Quote(harness.FreshIDs(w.trees[k]))+fmt.Sprintf(`,"mode":"CC","costBps":%d.%d}`, seed, i))
			d.isNew = true
			draws = append(draws, d)
		case p < 86:
			draws = append(draws, post("/api/bots/"+bot+"/sanity-report", `{}`))
		case p < 98:
			ticker := []string{"SPY", "QQQ", "TLT", "GLD", "IWM"}[k%5]
			limit := []int{1500, 15000, 20000}[r.IntN(3)]
			draws = append(draws, draw{Request: harness.Request{Method: "GET", URL: fmt.Sprintf("%s/api/candles/%s?limit=%d", base, ticker, limit)}})
		default:
			draws = append(draws, draw{Request: harness.Request{Method: "GET", URL: base + "/api/benchmarks/metrics"}})
		}
	}
	return draws
}

// times are how long answers took, by how they came.
type times struct {
	mu     sync.Mutex
	took   map[string][]time.Duration // by X-Cache
	kept   map[string]int             // hits, by what Cache-Status says of them: final, or why they are not
	misses int                        // that were not new
	news   int
}

// replay has four people send a day's requests.
func replay(ctx context.Context, c *http.Client, draws []draw) (*times, error) {
	t := &times{took: map[string][]time.Duration{}, kept: map[string]int{}}
	feed := make(chan draw)
	var people sync.WaitGroup
	var failure error
	for range 4 {
		people.Go(func() {
			for d := range feed {
				a, err := harness.Send(ctx, c, d.Request)
				if err == nil && a.Status != http.StatusOK {
					err = fmt.Errorf("not answered with success\n%s", a)
				}
				t.mu.Lock()
				if err != nil {
					failure = err
				} else {
					how := a.Header.Get("X-Cache")
					t.took[how] = append(t.took[how], a.Took)
					if how == "HIT" {
						t.kept[finality(a)]++
					}
					switch {
					case d.isNew:
						t.news++
					case how != "HIT":
						t.misses++
					}
				}
				t.mu.Unlock()
			}
		})
	}
	for _, d := range draws {
		feed <- d
	}
	close(feed)
	people.Wait()
	return t, failure
}

func (t *times) hitRate() float64 {
	all := 0
	for _, list := range t.took {
		all += len(list)
	}
	return float64(len(t.took["HIT"])) / float64(max(1, all))
}

// quantile of how long answers of that kind took.
func (t *times) quantile(how string, q float64) time.Duration {
	list := slices.Sorted(slices.Values(t.took[how]))
	if len(list) == 0 {
		return 0
	}
	return list[int(q*float64(len(list)-1))]
}

// finality is "final", or why an answer is kept for a short time only.
func finality(a *harness.Answer) string {
	for _, word := range strings.FieldsFunc(a.Header.Get("Cache-Status"), func(r rune) bool { return strings.ContainsRune(`;=, "`, r) }) {
		if strings.HasPrefix(word, "provisional") {
			return word
		}
	}
	return "final"
}
