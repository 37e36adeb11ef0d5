package warm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"warmfront/test/harness"
)

// replica is a loop that shares a Redis, and is quick to notice.
func replica(t *testing.T, r *harness.Redis, w *fakeWorld, p *fakeProxy) *Loop {
	t.Helper()
	l := newLoop(w, p, func(o *Options) { o.Redis, o.Concurrency = clientOf(t, r), 1 })
	ok(t, l.ledger.found(t.Context(), "data of before"))
	l.ledger = newRedisLedger(l.o.Redis, "test:", 600*time.Millisecond)
	l.every, l.beat = 20*time.Millisecond, 150*time.Millisecond
	return l
}

func testLedger(client redis.UniversalClient, lease time.Duration) *redisLedger {
	return newRedisLedger(client, "test:", lease)
}

func mustAcquire(t *testing.T, l ledger) string {
	t.Helper()
	token, err := l.acquire(t.Context())
	ok(t, err)
	if token == "" {
		t.Fatal("the lease is another's")
	}
	return token
}

func TestOneReplicaHasTheLease(t *testing.T) {
	_, client := realRedis(t)
	one, two := testLedger(client, time.Minute), testLedger(client, time.Minute)
	token := mustAcquire(t, one)
	if other, err := two.acquire(t.Context()); err != nil || other != "" {
		t.Fatalf("a second lease %q (%v)", other, err)
	}
	ok(t, one.release(t.Context(), token))
	if later := mustAcquire(t, two); later <= token {
		t.Fatalf("token %s after %s", later, token)
	}
}

func TestAHolderWhoseLeaseRanOutCanChangeNothing(t *testing.T) {
	_, client := realRedis(t)
	old, heir := testLedger(client, 50*time.Millisecond), testLedger(client, time.Minute)
	ctx := t.Context()
	stale := mustAcquire(t, old)
	run := &runInfo{ID: "1", For: "x"}
	_, _, err := old.begin(ctx, stale, run)
	ok(t, err)
	var token string
	until(t, func() error {
		if token, err = heir.acquire(ctx); token == "" {
			return fmt.Errorf("the lease is not free yet: %v", err)
		}
		return nil
	})
	d := newDelta()
	d.ids = []string{"late"}
	_, _, beginErr := old.begin(ctx, stale, &runInfo{ID: "2", For: "y"})
	_, renewErr := old.renew(ctx, stale)
	for what, err := range map[string]error{
		"begin": beginErr, "renew": renewErr, "record": old.record(ctx, stale, d),
		"finish": old.finish(ctx, stale, &Report{}, "x"), "release": old.release(ctx, stale),
	} {
		if !errors.Is(err, errFenced) {
			t.Errorf("%s of a holder of the past: %v, expected to be fenced off", what, err)
		}
	}
	done, _, err := heir.begin(ctx, token, &runInfo{ID: "3", For: "x"})
	ok(t, err)
	if len(done) != 0 {
		t.Fatalf("what came late counts: %v", done)
	}
}

func TestProgressIsGoneOnWithByTheHeirForTheSameDataOnly(t *testing.T) {
	_, client := realRedis(t)
	l := testLedger(client, time.Minute)
	ctx := t.Context()
	token := mustAcquire(t, l)
	first := &runInfo{ID: "1", For: "x", Reason: "why", StartedAt: noon}
	_, _, err := l.begin(ctx, token, first)
	ok(t, err)
	d := newDelta()
	d.stage, d.total, d.ids = stageBacktests, 10, []string{"a", "b", "c"}
	d.counts[warmed], d.counts[failed], d.reasons["status-500"] = 2, 1, 1
	ok(t, l.record(ctx, token, d))
	ok(t, l.release(ctx, token))

	token = mustAcquire(t, l)
	heir := &runInfo{ID: "2", For: "x"}
	done, tally, err := l.begin(ctx, token, heir)
	ok(t, err)
	if !done["a"] || !done["c"] || len(done) != 3 || tally.counts[warmed] != 2 || tally.reasons["status-500"] != 1 || tally.total != 10 || tally.stage != stageBacktests {
		t.Fatalf("done %v, %+v", done, tally)
	}
	if heir.ID != "1" || heir.Reason != "why" || !heir.StartedAt.Equal(noon) {
		t.Fatalf("the run is %+v, expected the one that was under way", heir)
	}
	done, tally, err = l.begin(ctx, token, &runInfo{ID: "3", For: "y"})
	ok(t, err)
	if len(done) != 0 || tally.done() != 0 {
		t.Fatalf("for other data, but done %v, %+v", done, tally)
	}
}

func TestTheLedgerHasTTLsAndIsInOneSlot(t *testing.T) {
	_, client := realRedis(t)
	l := testLedger(client, time.Minute)
	ctx := t.Context()
	ok(t, l.want(ctx))
	token := mustAcquire(t, l)
	_, _, err := l.begin(ctx, token, &runInfo{ID: "1", For: "x"})
	ok(t, err)
	d := newDelta()
	d.ids = []string{"a"}
	ok(t, l.record(ctx, token, d))
	ok(t, l.halt(ctx))
	check := func() {
		keys, err := client.Keys(ctx, "*").Result()
		ok(t, err)
		for _, key := range keys {
			ttl, err := client.PTTL(ctx, key).Result()
			ok(t, err)
			if !strings.HasPrefix(key, "test:{warm}:") || ttl <= 0 && key != "test:{warm}:fence" {
				t.Errorf("%s lives for %v", key, ttl)
			}
		}
	}
	check()
	ok(t, l.finish(ctx, token, &Report{End: endFinished}, "x"))
	check()
	v, err := l.look(ctx, "x")
	ok(t, err)
	if v.run != nil || !v.warmed || v.last == nil || v.last.End != endFinished || v.wanted {
		t.Fatalf("%+v", v)
	}
	if v, err = l.look(ctx, "y"); err != nil || v.warmed {
		t.Fatalf("warmed for data that nobody warmed for (%v)", err)
	}
}

func TestARunAskedForOnOneReplicaIsStoppedOnAnother(t *testing.T) {
	leakless(t)
	r, _ := realRedis(t)
	w := newWorld().lists(500)
	p := newProxy(w)
	p.takes = 5 * time.Millisecond
	one, two := replica(t, r, w, p), replica(t, r, w, p)
	running(t, one)
	until(t, func() error {
		if v, err := two.lookNow(t.Context()); err != nil || v.run == nil || v.tally.done() == 0 {
			return fmt.Errorf("the other replica sees nothing: %+v (%v)", v, err)
		}
		return nil
	})
	ok(t, two.ledger.halt(t.Context()))
	until(t, func() error {
		v, err := two.lookNow(t.Context())
		if err != nil || v.run != nil || v.last == nil || v.last.End != endStopped {
			return fmt.Errorf("it is not stopped: %+v (%v)", v, err)
		}
		return nil
	})
	ok(t, two.ledger.want(t.Context()))
	until(t, func() error {
		v, err := two.lookNow(t.Context())
		if err != nil || v.last == nil || v.last.Reason != "by hand" || v.last.Done != 501 {
			return fmt.Errorf("it did not run: %+v, %+v (%v)", v, v.last, err)
		}
		return nil
	})
	if p.most != 1 {
		t.Fatalf("%d at once", p.most)
	}
}

func TestAReplicaThatDoesNotKnowTheDataYetLeavesTheRunAlone(t *testing.T) {
	leakless(t)
	r, client := realRedis(t)
	w := newWorld().lists(3)
	p := newProxy(w)
	l := replica(t, r, w, p)
	other := testLedger(client, time.Minute)
	token := mustAcquire(t, other)
	now, _ := l.target()
	_, _, err := other.begin(t.Context(), token, &runInfo{ID: "1", For: now.key(), Date: now.date})
	ok(t, err)
	d := newDelta()
	d.counts[warmed] = 1
	b := bot{id: "bot-1", mode: "CC", costBps: []byte("5")}
	done, err := b.stored()
	ok(t, err)
	d.ids = []string{done.id}
	ok(t, other.record(t.Context(), token, d))
	ok(t, other.release(t.Context(), token))

	w.set(func(w *fakeWorld) { w.state, w.sure = State{}, false })
	running(t, l)
	for range 20 {
		l.poke <- struct{}{}
	}
	w.set(func(w *fakeWorld) { w.state, w.sure = State{Date: now.date, Generation: now.generation}, true })
	until(t, func() error {
		v, err := l.lookNow(t.Context())
		if err != nil || v.last == nil {
			return fmt.Errorf("not finished (%v)", err)
		}
		return nil
	})
	if p.started() != 3 { // two bots and the benchmarks
		t.Fatalf("%d requests, expected those that were left", p.started())
	}
}

// A holder that dies is one that neither renews its lease nor gives it back: its Redis is cut off.
func TestAnotherReplicaTakesOverAndDoesNothingTwice(t *testing.T) {
	leakless(t)
	r, _ := realRedis(t)
	w := newWorld().lists(120)
	p := newProxy(w)
	p.takes = 5 * time.Millisecond
	dying, heir := replica(t, r, w, p), replica(t, r, w, p)
	running(t, dying)
	until(t, func() error {
		if n := p.started(); n < 20 {
			return fmt.Errorf("%d requests so far", n)
		}
		return nil
	})
	ok(t, dying.o.Redis.Close()) // for it, Redis is gone
	running(t, heir)
	until(t, func() error {
		v, err := heir.lookNow(t.Context())
		if err != nil || v.run != nil || v.last == nil {
			return fmt.Errorf("not finished: %+v (%v)", v.tally, err)
		}
		if v.last.Done != 121 || v.last.Total != 121 || v.last.End != endFinished {
			return fmt.Errorf("%+v", v.last)
		}
		return nil
	})
	// The dying one went on until its lease was over; what it did then is known to the proxy's store only,
	// so that the heir found it there.
	twice := 0
	seen := map[string]bool{}
	for _, c := range p.seen() {
		if seen[c.name()] {
			twice++
		}
		seen[c.name()] = true
	}
	if twice > 1 {
		t.Fatalf("%d requests were made twice, expected the one under way at most", twice)
	}
}

func TestALoopWaitsForARedisThatIsDown(t *testing.T) {
	leakless(t)
	r, client := realRedis(t)
	w := newWorld().lists(2)
	p := newProxy(w)
	l := replica(t, r, w, p)
	ok(t, client.Do(t.Context(), "client", "pause", "400").Err()) // it hangs, then comes back
	running(t, l)
	until(t, func() error {
		v, err := l.lookNow(t.Context())
		if err != nil || v.last == nil {
			return fmt.Errorf("no run yet (%v)", err)
		}
		return nil
	})
}

func TestTwoEpochsDoNotWarmInTurns(t *testing.T) {
	leakless(t)
	r, _ := realRedis(t)
	w := newWorld().lists(2)
	p := newProxy(w)
	one, two := replica(t, r, w, p), replica(t, r, w, p)
	two.o.Epoch = "next"
	running(t, one)
	running(t, two)
	until(t, func() error {
		for _, l := range []*Loop{one, two} {
			t1, _ := l.target()
			if v, err := l.ledger.look(t.Context(), t1.key()); err != nil || !v.warmed || v.run != nil {
				return fmt.Errorf("not warmed for epoch %q (%v)", l.o.Epoch, err)
			}
		}
		return nil
	})
	runs := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.hits + len(p.calls) }
	before := runs()
	for range 50 { // looks at the ledger
		_, err := one.lookNow(t.Context())
		ok(t, err)
		one.poke <- struct{}{}
	}
	if runs() != before {
		t.Fatalf("%d more requests: the replicas take turns", runs()-before)
	}
}
