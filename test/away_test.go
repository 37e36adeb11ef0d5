package test

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"warmfront/test/harness"
)

// cutOff takes Redis away from two replicas that know of each other, and waits until both say so.
func cutOff(t *testing.T, r *harness.Redis, by syscall.Signal, replicas ...*harness.Server) {
	t.Helper()
	ok(t, r.Signal(by))
	if by == syscall.SIGSTOP {
		t.Cleanup(func() { _ = r.Signal(syscall.SIGCONT) })
	}
	for _, w := range replicas {
		until(t, redisState(w, "down"))
	}
}

// showings is how often the server was asked for bot-7.
func showings(t *testing.T, up *harness.Upstream) (asked, computed int) {
	t.Helper()
	c, err := up.Counts()
	ok(t, err)
	return c.Routes["GET /api/bots/:id"], c.Backtests
}

func TestWriteThroughAnotherReplicaIsSeenWithoutRedis(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, r := replicas(t, up, nil)
	old := post(t, two.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: MISS")
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: HIT")
	ok(t, r.Signal(syscall.SIGSTOP))
	defer func() { ok(t, r.Signal(syscall.SIGCONT)) }()
	for i := range 4 {
		writer, reader := one, two
		if i%2 > 0 {
			writer, reader = two, one
		}
		edit(t, up, writer.URL, "bot-7", map[string]any{"payload": payload(t, up, fmt.Sprintf("bot-%d", 9-i%2))})
		now := post(t, reader.URL+runPath, `{}`)
		if curve(t, now) == curve(t, old) {
			t.Fatalf("edit %d: without Redis the other replica serves the old backtest\n%s", i, now)
		}
		old = now
	}
}

func TestReplicasGoOnWithTheirMemoryWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"dead": syscall.SIGKILL, "hung": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := upstream(t)
			one, two, r := replicas(t, up, nil)
			both := []*harness.Server{one, two}
			requests := []func(w *harness.Server) *harness.Answer{
				func(w *harness.Server) *harness.Answer { return post(t, w.URL+runPath, `{}`) },
				func(w *harness.Server) *harness.Answer { return get(t, w.URL+"/api/candles/TLT?limit=77") },
				func(w *harness.Server) *harness.Answer {
					return post(t, w.URL+"/api/bots/bot-7/sanity-report", `{"seed":7}`)
				},
			}
			for _, w := range both {
				for _, request := range requests {
					until(t, func() error { // a lease that ran out meanwhile keeps it from being kept
						if a := request(w); a.Header.Get("X-Cache") != "HIT" {
							return fmt.Errorf("not kept yet\n%s", a)
						}
						return nil
					})
				}
			}
			cutOff(t, r, signal, both...)
			for _, w := range both { // the look that both take after the loss is over
				expect(t, requests[0](w), 200)
			}
			asked, computed := showings(t, up)
			const rounds = 10
			for range rounds {
				for _, w := range both {
					for _, request := range requests {
						expect(t, request(w), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
					}
				}
			}
			askedNow, computedNow := showings(t, up)
			if computedNow != computed {
				t.Errorf("%d hits without Redis made the server compute %d backtests, expected none", 6*rounds, computedNow-computed)
			}
			if asked := askedNow - asked; asked < 4*rounds {
				t.Errorf("%d hits on a saved bot asked for its revision %d times, expected each to", 4*rounds, asked)
			}
		})
	}
}

func TestWhatIsComputedWithoutRedisIsKeptForMinutesAndSharedByAllWhoWait(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, r := replicas(t, up, nil)
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`), 200)
	}
	cutOff(t, r, syscall.SIGSTOP, one, two)
	expect(t, post(t, two.URL+runPath, `{}`), 200)
	_, computed := showings(t, up)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Times: 1, DelayMS: 1000})
	const many = 50
	answers := make([]*harness.Answer, many)
	var all sync.WaitGroup
	c := client(t)
	for i := range many {
		all.Go(func() {
			answers[i], _ = harness.Send(limit(t), c, harness.Request{Method: http.MethodPost, URL: two.URL + runPath, Body: []byte(`{"mode":"OO"}`)})
		})
	}
	all.Wait()
	for _, a := range answers {
		if a == nil {
			t.Fatal("a request was not answered")
		}
		expect(t, a, 200)
	}
	if _, now := showings(t, up); now != computed+1 {
		t.Errorf("%d identical requests without Redis were %d backtests, expected one", many, now-computed)
	}
	kept := post(t, two.URL+runPath, `{"mode":"OO"}`)
	expect(t, kept, 200, "X-Cache: HIT")
	expectCacheStatus(t, kept, "provisional-redis-away")
}

// The row that the server keeps of a bot may be of another benchmark, for which another replica had it run.
func TestRowOfAnotherBenchmarkIsNotBelievedWithoutRedis(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, r := replicas(t, up, nil)
	expect(t, post(t, one.URL+runPath, `{}`), 200)
	cutOff(t, r, syscall.SIGSTOP, one, two)
	expect(t, post(t, one.URL+runPath, `{"mode":"OO","benchmarkTicker":"QQQ"}`), 200)
	_, computed := showings(t, up)
	expect(t, post(t, two.URL+runPath, `{"mode":"OO"}`), 200)
	if _, now := showings(t, up); now != computed+1 {
		t.Error("the server was let answer from its row, which is of another benchmark")
	}
}
