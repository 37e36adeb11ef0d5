// The benchmark of the warm loop: a day of traffic, a sync in the night, a warm run, and another day of
// traffic, against the stand-in server. It prints how much of the second day was a hit, how long hits
// and misses took, and how busy the run kept the server. BOTS and REQUESTS set its size.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"warmfront/test/harness"
)

const (
	concurrency = 2
	token       = "bench"
	wantedHits  = 0.95
	wantedBusy  = 0.95
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func run(ctx context.Context) (err error) {
	lab, err := harness.NewLab("node", "redis-server")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	s, err := start(ctx, lab)
	if err != nil {
		return err
	}
	defer s.between.Close()
	c := harness.NewClient()
	defer c.CloseIdleConnections()

	bots, requests := number("BOTS", 40), number("REQUESTS", 1500)
	fmt.Printf("Making %d bots; a first day of %d requests teaches the journal ...\n", bots, requests)
	w, err := populate(ctx, c, s.up, bots)
	if err != nil {
		return err
	}
	first, err := replay(ctx, c, w.day(s.warmfront.URL, 1, requests))
	if err != nil {
		return err
	}
	_, before, err := harness.Ready(s.warmfront.URL)
	if err != nil || before.DataDate == nil {
		return errors.Join(err, errors.New("no data date is known"))
	}
	fmt.Println("The night: a sync rewrites the price files, then the warm run ...")
	s.between.reset()
	if err := s.up.Sync("append", 500); err != nil {
		return err
	}
	night, err := s.ran(ctx, c, *before.DataDate)
	if err != nil {
		return err
	}
	busy, used := s.between.share()
	fmt.Println("The second day ...")
	second, err := replay(ctx, c, w.day(s.warmfront.URL, 2, requests))
	if err != nil {
		return err
	}
	if err := table(first, second, night, busy, used); err != nil {
		return err
	}
	if second.hitRate() <= wantedHits || busy < wantedBusy {
		return fmt.Errorf("wanted are hits over %.0f %% and a server busy for %.0f %% of the run", 100*wantedHits, 100*wantedBusy)
	}
	return nil
}

// servers are what the benchmark runs against.
type servers struct {
	up        *harness.Upstream
	between   *observer
	warmfront *harness.Server
}

func start(ctx context.Context, lab *harness.Lab) (*servers, error) {
	up, err := lab.StartUpstream(harness.Env{"DATA_DATE_MEMORY_MS": "100", "TRAPS_OFF": ""})
	if err != nil {
		return nil, err
	}
	r, err := lab.StartRedis()
	if err != nil {
		return nil, err
	}
	between, err := observe(up, concurrency)
	if err != nil {
		return nil, err
	}
	w, err := lab.StartWarmfront(between.URL, harness.Env{
		"REDIS_URL": r.URL(), "WARM": "true", "ADMIN_TOKEN": token, "SYNC_SETTLE": "3s", "WARM_CONCURRENCY": strconv.Itoa(concurrency),
		"UPSTREAM_EMAIL": "admin@example.com", "UPSTREAM_PASSWORD": "admin-password", "LOG_LEVEL": "warn", "REVISION_INTERVAL": "5s",
	})
	return &servers{up, between, w}, err
}

// progress is what the loop says of itself.
type progress struct {
	Running bool
	LastRun *struct {
		Date, End                                               string
		Total, Done, Warmed, Skipped, Provisional, Failed, Gone int
		Seconds, Busy                                           float64
		Failures                                                map[string]int
	}
}

func (s *servers) progress(ctx context.Context, c *http.Client) (p progress, err error) {
	a, err := harness.Send(ctx, c, harness.Request{Method: "GET", URL: s.warmfront.URL + "/_warmfront/warm", Header: []string{"Authorization: Bearer " + token}})
	if err == nil {
		err = json.Unmarshal(a.Wire, &p)
	}
	return p, err
}

// ran waits until a run for data after date has ended.
func (s *servers) ran(ctx context.Context, c *http.Client, date string) (p progress, err error) {
	err = harness.Until(4*time.Minute, func() error {
		if p, err = s.progress(ctx, c); err != nil {
			return err
		}
		if p.Running || p.LastRun == nil || p.LastRun.Date <= date {
			return errors.New("the warm run has not ended")
		}
		return nil
	})
	return p, err
}

func table(first, second *times, night progress, busy, used float64) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	row := func(what, is, wanted string) { fmt.Fprintf(t, "%s\t%s\t%s\n", what, is, wanted) }
	r := night.LastRun
	fmt.Fprintln(t)
	row("WHAT", "MEASURED", "WANTED")
	row("hit rate of the second day", fmt.Sprintf("%.1f %%", 100*second.hitRate()), "> 95 % (the document: 80 %)")
	row("  of the first, for comparison", fmt.Sprintf("%.1f %%", 100*first.hitRate()), "")
	row("misses of the second day", fmt.Sprintf("%d new strategies, %d others", second.news, second.misses), "")
	row("a hit, median / 95 of 100", ms(second.quantile("HIT", 0.5))+" / "+ms(second.quantile("HIT", 0.95)), "< 100 ms")
	row("a miss with candles warmed, median / 95", ms(second.quantile("MISS", 0.5))+" / "+ms(second.quantile("MISS", 0.95)), "< 500 ms")
	row("the warm run", fmt.Sprintf("%d requests in %.1f s: %d warmed, %d skipped, %d provisional, %d failed %v", r.Done, r.Seconds, r.Warmed, r.Skipped, r.Provisional, r.Failed, r.Failures), "")
	row("  of these answers final", fmt.Sprintf("%d of %d", r.Warmed, r.Warmed+r.Provisional), "all")
	for _, why := range slices.Sorted(maps.Keys(second.kept)) {
		row("  hits of the second day, "+why, strconv.Itoa(second.kept[why]), "")
	}
	row("the server busy during the run", fmt.Sprintf("%.1f %%", 100*busy), ">= 95 %")
	row(fmt.Sprintf("  of a concurrency of %d", concurrency), fmt.Sprintf("%.1f %%", 100*used), "")
	return t.Flush()
}
