package warm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// testGate is a gate with users to set, in a bubble of time.
func testGate(w *fakeWorld, limit int) *gate { return newGate(limit, w.UsersWaiting, newMetrics(nil)) }

// enters reports whether a request may start within d.
func enters(t *testing.T, g *gate, d time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return g.enter(ctx) == nil
}

// enterBoth reports whether two may start.
func enterBoth(t *testing.T, g *gate) bool {
	t.Helper()
	first := enters(t, g, time.Second)
	return enters(t, g, time.Second) && first
}

func TestNoMoreAreUnderWayThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 2)
		if !enterBoth(t, g) {
			t.Fatal("two may start")
		}
		if enters(t, g, time.Minute) {
			t.Fatal("a third started")
		}
		g.leave(&request{}, time.Second, answered)
		if !enters(t, g, time.Second) {
			t.Fatal("one has left, but no other may start")
		}
	})
}

func TestNothingStartsWhileUsersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		g := testGate(w, 2)
		w.set(func(w *fakeWorld) { w.users = 3 })
		if enters(t, g, trickleEvery-time.Second) {
			t.Fatal("one started although users wait")
		}
		w.set(func(w *fakeWorld) { w.users = 0 })
		if !enters(t, g, time.Second) {
			t.Fatal("none starts although no user waits")
		}
		if enters(t, g, calmAfter/2) {
			t.Fatal("a second one started although users had to wait just now")
		}
		if !enters(t, g, calmAfter) {
			t.Fatal("a second one doesn't start although no user has waited for long")
		}
	})
}

func TestUsersThatAlwaysWaitDoNotStopTheRunForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.set(func(w *fakeWorld) { w.users = 1 })
		g := testGate(w, 4)
		began, started := time.Now(), 0
		for time.Since(began) < time.Minute {
			if enters(t, g, time.Second) {
				started++
				if enters(t, g, time.Second) {
					t.Fatal("two at once while users wait")
				}
				g.leave(&request{}, time.Second, answered)
			}
		}
		if started < 4 || started > 6 {
			t.Fatalf("%d started in a minute, expected one every ten seconds", started)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 2)
		g.retryAfter(42 * time.Second)
		if enters(t, g, 41*time.Second) {
			t.Fatal("one started before the server's time")
		}
		if !enters(t, g, 2*time.Second) {
			t.Fatal("none starts after the server's time")
		}
		if enters(t, g, time.Minute) {
			t.Fatal("a second one started before the first was answered")
		}
		g.leave(&request{}, time.Second, answered)
		if !enterBoth(t, g) {
			t.Fatal("an answer should have ended the care")
		}
	})
}

func TestRetryAfterOfADayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 1)
		g.retryAfter(24 * time.Hour)
		if !enters(t, g, maxRetryAfter+time.Second) {
			t.Fatal("the run waits longer than is sensible")
		}
	})
}

func TestFailuresInARowPauseTheRunLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 1)
		fail := func() (waited time.Duration) {
			for range troubleAfter {
				began := time.Now()
				ok(t, g.enter(t.Context()))
				waited = max(waited, time.Since(began))
				g.leave(&request{}, time.Millisecond, troubled)
			}
			return waited
		}
		if d := fail(); d > 0 {
			t.Fatalf("waited %v before anything failed", d)
		}
		var last time.Duration
		for range 8 {
			d := fail()
			if d < last/2 || d > longestPause*3/2 {
				t.Fatalf("a pause of %v after one of %v", d, last)
			}
			last = d
		}
		if last < longestPause/2 {
			t.Fatalf("the pauses did not grow: the last was %v", last)
		}
	})
}

func TestAServerThatBecomesSlowIsGivenAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 2)
		r := &request{route: "run-backtest"}
		for range 50 { // as usual, with some spread
			for _, d := range []time.Duration{300 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond} {
				ok(t, g.enter(t.Context()))
				g.leave(r, d, answered)
			}
		}
		began := time.Now()
		for range remembered/2 + 1 { // a majority
			ok(t, g.enter(t.Context()))
			g.leave(r, 4*time.Second, answered)
		}
		if time.Since(began) > 0 {
			t.Fatal("it paused before it was sure")
		}
		ok(t, g.enter(t.Context()))
		if time.Since(began) < firstPause/2 {
			t.Fatal("it went on although everything takes six times as long")
		}
		if enters(t, g, time.Minute) {
			t.Fatal("two at once right after the pause")
		}
		g.leave(r, 500*time.Millisecond, answered)
		if !enterBoth(t, g) {
			t.Fatal("an answer in the usual time should have ended the care")
		}
	})
}

func TestRequestsThatAreKnownToBeSlowAreNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 1)
		for range 20 {
			ok(t, g.enter(t.Context()))
			g.leave(&request{route: "run-backtest"}, 300*time.Millisecond, answered)
		}
		began := time.Now()
		for range 20 {
			ok(t, g.enter(t.Context()))
			g.leave(&request{route: "run-backtest", took: 5 * time.Second}, 5*time.Second, answered)
		}
		if time.Since(began) > 0 {
			t.Fatal("it paused for requests that took what they always take")
		}
	})
}

func TestNothingStartsWhileTheDataIsInMotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 1)
		g.set(true)
		if enters(t, g, time.Hour) {
			t.Fatal("one started")
		}
		g.set(false)
		if !enters(t, g, time.Second) {
			t.Fatal("none starts although the data is at rest")
		}
	})
}

func TestTheBusyShareIsOfTheTimeWithARequestUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(newWorld(), 2)
		began := time.Now()
		ok(t, g.enter(t.Context()))
		time.Sleep(6 * time.Second)
		g.leave(&request{}, 6*time.Second, answered)
		time.Sleep(4 * time.Second)
		if busy, used := g.share(time.Since(began)); busy != 0.6 || used != 0.3 {
			t.Fatalf("busy %v and used %v, expected 0.6 and 0.3", busy, used)
		}
	})
}
