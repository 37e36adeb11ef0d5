package test

import (
	"fmt"
	"testing"

	"warmfront/test/harness"
)

// quiet waits until what both replicas had to write back before is done: another bot's turn comes after it.
func quiet(t *testing.T, up *harness.Upstream, replicas ...*harness.Server) {
	t.Helper()
	const path = "/api/bots/bot-9/run-backtest"
	for _, w := range replicas {
		for _, variant := range []string{closeVariant, openVariant} {
			a := post(t, w.URL+path, variant)
			expect(t, a, 200)
			becomes(t, up, "bot-9", a)
		}
	}
}

func TestEachChangeOfVariantIsWrittenBackOnceOverTwoReplicas(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	closed, open := variants(t, up, one)
	both := []*harness.Server{one, two}
	changes := 0
	for round := range 2 {
		for i, c := range []struct {
			variant string
			answer  *harness.Answer
		}{{closeVariant, closed}, {openVariant, open}, {closeVariant, closed}, {openVariant, open}} {
			hits(t, both[(i+round)%2], c.variant)
			changes++
			becomes(t, up, "bot-7", c.answer)
			for n := range 6 {
				hits(t, both[n%2], c.variant)
			}
			quiet(t, up, one, two)
			puts(t, up, changes)
		}
	}
}

func TestOneVariantOverTwoReplicasIsNotAskedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	expect(t, post(t, one.URL+runPath, closeVariant), 200, "X-Cache: MISS")
	before, err := up.Counts()
	ok(t, err)
	for range 50 {
		hits(t, one, closeVariant)
		hits(t, two, closeVariant)
	}
	quiet(t, up, one, two)
	after, err := up.Counts()
	ok(t, err)
	puts(t, up, 0)
	// Each replica looks once at what the server has and once at the bot's revision; the rest is bot-9's.
	const shown = "GET /api/bots/:id"
	if n := after.Routes[shown] - before.Routes[shown]; n > 20 {
		t.Errorf("bots were asked for %d times for 100 hits of one variant", n)
	}
}

func TestMetricsThatTheServerRefusesAreNotSentByTheOtherReplicaToo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ status, puts int }{{400, 1}, {404, 1}, {500, 3}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			up := upstream(t)
			one, two, _ := replicas(t, up, nil)
			variants(t, up, one)
			override(t, up, harness.Override{Method: "PUT", Path: metricsPath, Status: c.status, Body: "<html>no</html>", Times: 99})
			hits(t, one, closeVariant)
			until(t, func() error {
				if n := counted(t, one, "warmfront_writeback_dropped_total"); n != 1 {
					return fmt.Errorf("%d were dropped, expected 1", n)
				}
				return nil
			})
			for range 3 {
				hits(t, two, closeVariant)
				quiet(t, up, two)
				hits(t, one, closeVariant)
				quiet(t, up, one)
			}
			puts(t, up, c.puts)
		})
	}
}
