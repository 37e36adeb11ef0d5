// The demo starts the stand-in server and Warmfront in front of it, asks every intercepted route twice
// as a browser would, and prints how long that took. It leaves the pair running until Ctrl-C; with
// ONCE=1 it exits instead, with 1 when a second call was not answered from the cache.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"warmfront/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Getenv("ONCE") == "1")
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, once bool) (err error) {
	fmt.Println("Building Warmfront ...")
	lab, err := harness.NewLab("node")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()

	fmt.Println("Starting the server: a stand-in for yours, with 12 bots, 30 tickers and 15 years of prices ...")
	up, err := lab.StartUpstream(nil)
	if err != nil {
		return err
	}
	fmt.Println("Starting Warmfront in front of it, without a Redis: what it needs is UPSTREAM_URL alone ...")
	w, err := lab.StartWarmfront(up.URL, nil)
	if err != nil {
		return err
	}

	fmt.Print("\nAsking every intercepted route twice. Strategies get fresh ids at each call, as from a browser.\n\n")
	rows, err := measure(ctx, up, w.URL)
	if err != nil {
		return err
	}
	if err := table(os.Stdout, rows); err != nil {
		return err
	}
	if err := hits(rows); err != nil || once {
		return err
	}
	explain(up.URL, w.URL)
	select {
	case <-ctx.Done():
		fmt.Println("\nStopping both ...")
		return nil
	case <-up.Exited():
		return fmt.Errorf("the server has ended\n%s", up.Tail(20))
	case <-w.Exited():
		return fmt.Errorf("warmfront has ended\n%s", w.Tail(20))
	}
}

// A row is a route and its two answers.
type row struct {
	call          harness.Call
	first, second *harness.Answer
}

func measure(ctx context.Context, up *harness.Upstream, url string) ([]row, error) {
	calls, err := up.Calls(ctx)
	if err != nil {
		return nil, err
	}
	c := harness.NewClient()
	defer c.CloseIdleConnections()
	rows := make([]row, 0, len(calls))
	for _, call := range calls {
		r := row{call: call}
		for _, a := range []**harness.Answer{&r.first, &r.second} {
			if *a, err = harness.Send(ctx, c, call.Request(url, "Accept-Encoding: gzip", "Origin: http://localhost:5173")); err != nil {
				return nil, err
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func table(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ROUTE\tFIRST CALL\tSECOND CALL\tX-CACHE\tTIER\tSPEED-UP")
	for _, r := range rows {
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\t%.0f x\n", r.call.Method, r.call.Path, ms(r.first.Took), ms(r.second.Took),
			r.second.Header.Get("X-Cache"), r.second.Header.Get("X-Cache-Tier"), float64(r.first.Took)/float64(r.second.Took))
	}
	return t.Flush()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// hits is nil when every second call was a hit.
func hits(rows []row) error {
	var wrong []error
	for _, r := range rows {
		if r.second.Status != 200 || r.second.Header.Get("X-Cache") != "HIT" {
			wrong = append(wrong, fmt.Errorf("the second call of %s was not a hit\n%s", r.call.Name, r.second))
		}
	}
	return errors.Join(wrong...)
}

func explain(server, warmfront string) {
	fmt.Printf(`
Both keep running:
  the server      %[1]s
  Warmfront       %[2]s   (use it wherever you used the server's address)
  readiness       %[2]s/_warmfront/readyz
  metrics         %[2]s/_warmfront/metrics
  dashboard       %[2]s/_warmfront/   (not built yet: it answers 403)

Try it in another terminal; X-Cache, Cache-Status and Age tell what happened:
  curl -s -D - -o /dev/null -X POST %[2]s/api/bots/bot-3/run-backtest
  curl -s -D - -o /dev/null '%[2]s/api/candles/QQQ?limit=50'
  curl -s -D - -o /dev/null '%[2]s/api/candles/QQQ?limit=50' -H 'X-Cache-Debug: 1'    # shows the key
  curl -s -D - -o /dev/null '%[2]s/api/candles/QQQ?limit=50' -H 'X-Cache-Bypass: 1'   # past the cache
  curl -s %[1]s/__test/counts   # what reached the server

Ctrl-C ends both.
`, server, warmfront)
}
