// The benchmark of hits while the server is busy: sixteen backtests hold the one thread of the stand-in for a second each,
// and every intercepted route is asked for what is kept, by Origins that were seen and ones that were not, of one
// replica and of three. It prints how long hits took by route and by Origin.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"warmfront/test/harness"
)

const (
	backtests = 16
	wanted    = 50 * time.Millisecond
	clients   = 4
	// interval makes every hit one whose revision is to be asked for again.
	interval = "1s"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	lab, err := harness.NewLab("node", "redis-server")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "REPLICAS\tWHAT\tHITS OF ALL\tMEDIAN\t99 OF 100\tWANTED")
	for _, replicas := range counts() {
		if err := measure(ctx, lab, replicas, t); err != nil {
			return err
		}
	}
	return t.Flush()
}

// counts are the numbers of replicas to measure: one and three, or REPLICAS.
func counts() []int {
	if n, err := strconv.Atoi(os.Getenv("REPLICAS")); err == nil && n > 0 {
		return []int{n}
	}
	return []int{1, 3}
}

// measure has replicas asked while the server is busy, and prints a row for each route and each sort of Origin.
func measure(ctx context.Context, lab *harness.Lab, replicas int, t *tabwriter.Writer) error {
	up, err := lab.StartUpstream(nil)
	if err != nil {
		return err
	}
	defer up.Stop()
	r, err := lab.StartRedis()
	if err != nil {
		return err
	}
	defer r.Stop()
	calls, err := up.Calls(ctx)
	if err != nil {
		return err
	}
	c := harness.NewClient()
	defer c.CloseIdleConnections()
	var urls []string
	for range replicas {
		w, err := lab.StartWarmfront(up.URL, harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": interval, "AUDIT_RATE": "0", "WARM": "false", "LOG_LEVEL": "error"})
		if err != nil {
			return err
		}
		defer w.Stop()
		if err := fill(ctx, c, w.URL, calls); err != nil {
			return err
		}
		urls = append(urls, w.URL)
	}
	if err := up.Busy(1000); err != nil {
		return err
	}
	var work sync.WaitGroup
	for i := range backtests {
		work.Go(func() {
			_, _ = harness.Send(ctx, c, harness.Request{Method: http.MethodPost, URL: fmt.Sprintf("%s/api/bots/bot-%d/run-backtest", up.URL, 7+i%6),
				Body: fmt.Appendf(nil, `{"costBps":%d,"forceRefresh":true}`, 100+i)})
		})
	}
	over := make(chan struct{})
	go func() { work.Wait(); close(over) }()
	took := ask(ctx, c, urls, calls, over)
	<-over
	took.print(t, replicas)
	return nil
}

// fill asks for everything until it is kept.
func fill(ctx context.Context, c *http.Client, url string, calls []harness.Call) error {
	for _, call := range calls {
		if err := harness.Until(time.Minute, func() error {
			a, err := harness.Send(ctx, c, call.Request(url, "Origin: http://app.example"))
			if err == nil && a.Header.Get("X-Cache") != "HIT" {
				err = fmt.Errorf("%s is not kept\n%s", call.Name, a)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// origins are the Origins that ask, by what they are to the replica.
var origins = []struct{ what, header string }{
	{"an Origin that was seen", "Origin: http://app.example"}, {"no Origin", "X-Bench: 1"}, {"an Origin never seen", "Origin: http://never-%d.example"},
}

// ask asks for everything in turn until over.
func ask(ctx context.Context, c *http.Client, urls []string, calls []harness.Call, over <-chan struct{}) *times {
	took := &times{by: map[string][]time.Duration{}, hits: map[string]int{}}
	var asking sync.WaitGroup
	for n := range clients {
		asking.Go(func() {
			for i := n; ; i++ {
				select {
				case <-over:
					return
				case <-ctx.Done():
					return
				default:
				}
				call, origin := calls[i%len(calls)], origins[i/len(calls)%len(origins)]
				header := origin.header
				if origin.what == "an Origin never seen" {
					if call.Method == http.MethodGet {
						continue // a browser asks for it without a preflight: it waits for the server, and must
					}
					header = fmt.Sprintf(header, i)
				}
				a, err := harness.Send(ctx, c, call.Request(urls[i%len(urls)], header, "Accept-Encoding: gzip"))
				if err == nil {
					took.add(a, call.Name, origin.what)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	asking.Wait()
	return took
}

// times are how long answers took.
type times struct {
	mu   sync.Mutex
	by   map[string][]time.Duration
	hits map[string]int
}

func (t *times) add(a *harness.Answer, names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range append(names, "all") {
		t.by[name] = append(t.by[name], a.Took)
		if a.Header.Get("X-Cache") == "HIT" {
			t.hits[name]++
		}
	}
}

func (t *times) print(w *tabwriter.Writer, replicas int) {
	names := make([]string, 0, len(t.by))
	for name := range t.by {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		took := t.by[name]
		slices.Sort(took)
		at := func(share float64) string {
			return fmt.Sprintf("%.1f ms", float64(took[int(share*float64(len(took)-1))].Microseconds())/1000)
		}
		fmt.Fprintf(w, "%d\t%s\t%d of %d\t%s\t%s\t< %v\n", replicas, name, t.hits[name], len(took), at(0.5), at(0.99), wanted)
	}
}
