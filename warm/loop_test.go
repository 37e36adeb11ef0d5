package warm

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with a loop in a bubble of time, in which a minute takes no time.
func bubble(t *testing.T, test func(t *testing.T, w *fakeWorld, p *fakeProxy)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().lists(3)
		p := newProxy(w)
		p.takes = 200 * time.Millisecond
		test(t, w, p)
	})
}

// within waits for d and until nothing moves.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestARunBeginsAtTheStartAndWhenTheDataHasMovedAndSettled(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		l := newLoop(w, p)
		running(t, l)
		after(10 * time.Second)
		if r := lastRun(t, l); r.Warmed != 4 || r.End != endFinished || r.Date != "2026-01-14" { // three bots and the benchmarks
			t.Fatalf("after the start: %+v", r)
		}
		after(time.Hour)
		if p.started() != 4 || p.hits != 0 {
			t.Fatalf("%d requests, %d hits: something ran again without reason", p.started(), p.hits)
		}
		w.set(func(w *fakeWorld) { w.state = State{Date: "2026-01-15", Generation: "g2", Provisional: true} })
		after(10 * time.Minute)
		if p.started() != 4 {
			t.Fatal("something was warmed from data in motion")
		}
		w.moved("2026-01-15", "g2")
		after(10 * time.Second)
		if r := lastRun(t, l); r.Warmed != 4 || r.Date != "2026-01-15" || !strings.Contains(r.Reason, "2026-01-15") {
			t.Fatalf("after the data settled: %+v", r)
		}
	})
}

func TestNothingIsWarmedWhileTheDataIsNotKnown(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.sure = false
		running(t, newLoop(w, p))
		after(time.Minute)
		if p.started() != 0 {
			t.Fatal("something was warmed")
		}
		w.set(func(w *fakeWorld) { w.sure = true })
		after(time.Minute)
		if p.started() != 4 {
			t.Fatalf("%d requests, expected 4", p.started())
		}
	})
}

func TestTheStagesComeInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		l := newLoop(w, p)
		known(t, l,
			note(t, "POST", "/api/correlation/optimize", `{"botIds":["bot-1","bot-2"]}`, time.Second),
			note(t, "POST", "/api/bots/bot-1/sanity-report", `{}`, time.Second),
			note(t, "POST", "/api/backtest", `{"payload":{}}`, time.Second),
			note(t, "POST", "/api/indicator-series", `{"conditions":[]}`, time.Second),
			note(t, "GET", "/api/candles/SPY?limit=60", ``, time.Second))
		running(t, l)
		after(time.Minute)
		rank := func(target string) int {
			for i, part := range []string{"/api/candles", "/api/indicator", "backtest", "/api/benchmarks", "/"} {
				if strings.Contains(target, part) {
					return i
				}
			}
			return -1
		}
		last := 0
		for _, c := range p.seen() {
			if rank(c.target) < last {
				t.Fatalf("%s came too late: %v", c.target, p.seen())
			}
			last = rank(c.target)
		}
		if r := lastRun(t, l); r.Warmed != 9 || r.Total != 9 {
			t.Fatalf("%+v", r)
		}
		if p.most != 2 {
			t.Fatalf("%d at once, expected 2", p.most)
		}
	})
}

func TestWhatIsStoredAlreadyIsSkipped(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		l := newLoop(w, p)
		running(t, l)
		after(10 * time.Second)
		ok(t, l.ledger.want(t.Context()))
		after(10 * time.Second)
		if r := lastRun(t, l); r.Reason != "by hand" || r.Skipped != 4 || r.Warmed != 0 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestAFailureNeverEndsTheRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		p.answers = func(c call, h http.Header) (int, bool) {
			switch {
			case strings.Contains(c.target, "bot-1"):
				return 500, true
			case strings.Contains(c.target, "bot-2"):
				panic(http.ErrAbortHandler)
			}
			return 0, false
		}
		l := newLoop(w, p)
		running(t, l)
		after(5 * time.Minute)
		r := lastRun(t, l)
		if r.Done != 4 || r.Warmed != 2 || r.Failed != 2 || r.Failures["status-500"] != 1 || r.Failures["broken-off"] != 1 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestTheServersFailuresAreComeBackForAFewTimes(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		p.answers = func(c call, h http.Header) (int, bool) { return 500, strings.Contains(c.target, "bot-1") }
		l := newLoop(w, p)
		running(t, l)
		after(5 * time.Minute)
		if n := p.started(); n != 3+tries {
			t.Fatalf("%d requests, expected %d", n, 3+tries)
		}
		after(48 * time.Hour)
		if n := p.started(); n != 3+tries*(1+maxFollow) {
			t.Fatalf("%d requests, expected %d: three more times", n, 3+tries*(1+maxFollow))
		}
		p.mu.Lock()
		p.answers = nil
		p.mu.Unlock()
		w.moved("2026-01-15", "g2")
		after(time.Hour)
		if r := lastRun(t, l); r.Failed != 0 || r.Warmed != 4 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestProvisionalAnswersAreCountedApartAndAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		behind := true
		p.answers = func(c call, h http.Header) (int, bool) {
			if behind && strings.Contains(c.target, "bot-2") {
				h.Set("X-Cache", "MISS")
				h.Set("Cache-Status", "warmfront; fwd=miss; stored; ttl=600; detail=provisional-behind-data")
				return 200, true
			}
			return 0, false
		}
		l := newLoop(w, p)
		running(t, l)
		after(time.Minute)
		if r := lastRun(t, l); r.Provisional != 1 || r.Warmed != 3 || r.Failed != 0 {
			t.Fatalf("%+v", r)
		}
		p.mu.Lock()
		behind = false
		p.mu.Unlock()
		after(followAfter)
		if r := lastRun(t, l); r.Provisional != 0 || r.Warmed != 1 || r.Skipped != 3 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestTheRunBeginsAgainWhenTheDataMoves(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(20)
		l := newLoop(w, p)
		running(t, l)
		after(700 * time.Millisecond)
		if n := p.started(); n < 4 || n > 8 {
			t.Fatalf("%d requests so far", n)
		}
		w.set(func(w *fakeWorld) { w.state = State{Date: "2026-01-15", Generation: "g2", Provisional: true} })
		after(time.Second)
		before := p.started()
		after(time.Hour)
		if p.started() != before {
			t.Fatal("it went on although the data is in motion")
		}
		if s := l.Summary(); !s.Running || s.Stage != stageWaiting {
			t.Fatalf("it says %+v, expected that it waits", s)
		}
		w.moved("2026-01-16", "g3")
		after(time.Minute)
		r := lastRun(t, l)
		if r.Date != "2026-01-16" || r.Warmed != 21 || r.Restarts == 0 {
			t.Fatalf("%+v", r)
		}
		for _, c := range p.seen()[before:] {
			if c.generation != "g3" {
				t.Fatalf("%+v was asked for another state of the data", c)
			}
		}
	})
}

func TestARunPausesWhileASyncIsUnderWayAndGoesOnWhenNothingChanged(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(20)
		l := newLoop(w, p)
		running(t, l)
		after(700 * time.Millisecond)
		w.set(func(w *fakeWorld) { w.state.Provisional = true })
		after(time.Second)
		before := p.started()
		after(20 * time.Minute)
		if p.started() != before {
			t.Fatal("it went on although a sync is under way")
		}
		w.set(func(w *fakeWorld) { w.state.Provisional = false })
		after(time.Minute)
		if r := lastRun(t, l); r.Warmed != 21 || r.Restarts != 0 || p.started() != 21 {
			t.Fatalf("%d requests, %+v", p.started(), r)
		}
	})
}

func TestARunThatIsStoppedByHandStaysStopped(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(100)
		l := newLoop(w, p)
		running(t, l)
		after(time.Second)
		ok(t, l.ledger.halt(t.Context()))
		after(time.Hour)
		if r := lastRun(t, l); r.End != endStopped || p.started() > 40 {
			t.Fatalf("%d requests, %+v", p.started(), r)
		}
		ok(t, l.ledger.want(t.Context()))
		after(time.Hour)
		if r := lastRun(t, l); r.End != endFinished || r.Done != 101 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestAStartByHandWaitsForTheDataToSettle(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.state.Provisional = true
		l := newLoop(w, p)
		running(t, l)
		ok(t, l.ledger.want(t.Context()))
		after(time.Minute)
		if s := l.Summary(); p.started() != 0 || !s.Running || s.Stage != stageWaiting {
			t.Fatalf("%d requests, %+v", p.started(), s)
		}
		w.set(func(w *fakeWorld) { w.state.Provisional = false })
		after(time.Minute)
		if r := lastRun(t, l); r.Warmed != 4 || r.Reason != "by hand" {
			t.Fatalf("%+v", r)
		}
	})
}

func TestUsersAreServedBeforeTheRunGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(50)
		running(t, newLoop(w, p))
		after(time.Second)
		w.set(func(w *fakeWorld) { w.users = 1 })
		before := p.started()
		after(5 * time.Second)
		if p.started() != before {
			t.Fatalf("%d requests started while a user waited", p.started()-before)
		}
		w.set(func(w *fakeWorld) { w.users = 0 })
		after(5 * time.Second)
		if p.started() == before {
			t.Fatal("it does not go on")
		}
	})
}

func TestABotThatIsNoMoreIsNotAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.answers["/api/bots/old"] = `{"bot":{"id":"old"}}` // deleted right after
		p.answers = func(c call, h http.Header) (int, bool) {
			h.Set("Content-Type", "application/json; charset=utf-8")
			return 404, strings.Contains(c.target, "/old/")
		}
		l := newLoop(w, p)
		known(t, l,
			note(t, "POST", "/api/bots/old/run-backtest", `{"mode":"OO"}`, time.Second),
			note(t, "POST", "/api/bots/old/sanity-report", `{}`, time.Second))
		running(t, l)
		after(time.Minute)
		if r := lastRun(t, l); r.Gone != 3 || r.Failed != 0 {
			t.Fatalf("%+v", r)
		}
		if n, _ := l.journal.keeper.size(t.Context()); n != 0 {
			t.Fatalf("%d are still remembered", n)
		}
		asked := 0
		for _, c := range p.seen() {
			if strings.Contains(c.target, "/old/") {
				asked++
			}
		}
		if asked != 1 {
			t.Fatalf("asked %d times for a bot that is no more", asked)
		}
	})
}

func TestAServerThatAsksForCredentialsIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(100)
		p.answers = func(call, http.Header) (int, bool) { return http.StatusUnauthorized, true }
		l := newLoop(w, p)
		running(t, l)
		after(time.Hour)
		if r := lastRun(t, l); r.Failures["status-401"] != 101 || p.started() > 2*maxRefusals {
			t.Fatalf("%d were asked for in vain: %+v", p.started(), r)
		}
	})
}

func TestTheServerIsBusyForAlmostAllOfTheRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(200)
		l := newLoop(w, p)
		running(t, l)
		after(time.Hour)
		if r := lastRun(t, l); r.Busy < 0.99 || r.Used < 0.95 {
			t.Fatalf("busy %v, used %v", r.Busy, r.Used)
		}
	})
}

func TestALoopThatIsOffDoesNothing(t *testing.T) {
	leakless(t)
	w := newWorld()
	p := newProxy(w)
	l := newLoop(w, p, func(o *Options) { o.Enabled = false })
	l.Run(t.Context()) // returns at once
	l.Note(Note{})
	if len(l.journal.waiting) > 0 || p.started() > 0 {
		t.Fatal("it is off")
	}
}

// deafLedger can't renew its lease.
type deafLedger struct{ *memoryLedger }

func (deafLedger) renew(ctx context.Context, _ string) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestAHolderThatCannotRenewItsLeaseEndsBeforeTheLeaseDoes(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(1000)
		l := newLoop(w, p)
		l.ledger = deafLedger{newMemoryLedger()}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		l.hold(ctx, "1", "why")
		if took := time.Since(began); took >= leaseFor || took < leaseFor/2 {
			t.Fatalf("it ended after %v, with a lease of %v", took, leaseFor)
		}
	})
}
