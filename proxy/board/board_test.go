package board

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"warmfront/test/harness"
)

var server *harness.Redis

func TestMain(m *testing.M) {
	lab, err := harness.NewRedisLab()
	if err == nil {
		server, err = lab.StartRedis()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "board tests:", err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	_ = lab.Close()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreCurrent()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// replica runs a board on the test's Redis.
func replica(t *testing.T, r *harness.Redis) *Board { return listening(t, r, func(Subject) {}) }

func listening(t *testing.T, r *harness.Redis, hear func(Subject)) *Board {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: r.Address, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second, DialerRetries: 1})
	test, _, _ := strings.Cut(t.Name(), "/")
	b := New(client, test+":", time.Hour, hear, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); _ = client.Close() })
	until(t, "the replica reads the board", b.Sure)
	return b
}

// ownRedis is a Redis for a test that takes it away.
func ownRedis(t *testing.T) (*harness.Lab, *harness.Redis) {
	t.Helper()
	lab, err := harness.NewRedisLab()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Close() })
	r, err := lab.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	return lab, r
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := harness.Until(20*time.Second, func() error {
		if !ok() {
			return fmt.Errorf("not yet: %s", what)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWhenAWriteBeginsEveryReplicaKnows(t *testing.T) {
	t.Parallel()
	one, two := replica(t, server), replica(t, server)
	for i := range 20 {
		s := Subject{Bot, fmt.Sprintf("bot|%d: \n", i)}
		before := two.Epoch(Bot, s.Name)
		w := one.Begin(t.Context(), s)
		if !two.Writing(Bot, s.Name) || two.Epoch(Bot, s.Name) == before {
			t.Fatalf("write %d has begun at one and two does not know: writing %v, epoch %d, before %d",
				i, two.Writing(Bot, s.Name), two.Epoch(Bot, s.Name), before)
		}
		if two.Writing(Bot, "another") || two.Writing(Metrics, s.Name) {
			t.Fatal("what is not written to counts as being written to")
		}
		at := two.Epoch(Bot, s.Name)
		w.End(true)
		until(t, "two reads of the end", func() bool { return !two.Writing(Bot, s.Name) && two.Epoch(Bot, s.Name) != at })
	}
}

func TestOwnNoticesAreNoNews(t *testing.T) {
	t.Parallel()
	one, two := replica(t, server), replica(t, server)
	s := Subject{Bot, "bot"}
	one.Begin(t.Context(), s).End(true)
	epoch := one.Epoch(Bot, "bot")
	two.Begin(t.Context(), Subject{Bot, "other"}).End(true)
	until(t, "one has read everything", func() bool { return one.Epoch(Bot, "other") != 0 && !one.Writing(Bot, "other") })
	if got := one.Epoch(Bot, "bot"); got != epoch {
		t.Errorf("reading its own notice moved the epoch from %d to %d", epoch, got)
	}
	two.Begin(t.Context(), s).End(true)
	until(t, "one reads of the other's write", func() bool { return one.Epoch(Bot, "bot") != epoch })
}

func TestAWriteToAnyBotIsAWriteToEach(t *testing.T) {
	t.Parallel()
	one, two := replica(t, server), replica(t, server)
	w := one.Begin(t.Context(), Subject{Bot, ""})
	for _, b := range []*Board{one, two} {
		if !b.Writing(Bot, "whichever") {
			t.Error("a bot does not count as being written to while any bot may be")
		}
	}
	before := two.Epoch(Bot, "whichever")
	w.End(true)
	until(t, "two reads of the end", func() bool { return !two.Writing(Bot, "whichever") && two.Epoch(Bot, "whichever") > before })
}

func TestAWriteOfUnknownOutcomeGoesOnCounting(t *testing.T) {
	t.Parallel()
	one, two := replica(t, server), replica(t, server)
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(false)
	one.Begin(t.Context(), Subject{Bot, "marker"}).End(true)
	until(t, "two has read everything", func() bool { return two.Epoch(Bot, "marker") != 0 && !two.Writing(Bot, "marker") })
	for name, b := range map[string]*Board{"one": one, "two": two} {
		if !b.Writing(Bot, "bot") {
			t.Errorf("%s believes in a bot to which a lost write may yet be applied", name)
		}
	}
}

func TestAReplicaThatIsGoneHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	one := replica(t, server)
	gone := replica(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = gone.client.Close() // it stops looking, without a good-bye
	one.Begin(ctx, Subject{Bot, "bot"}).End(true)
	if ctx.Err() != nil {
		t.Error("a write waited for a replica that is gone")
	}
}

func TestRecordIsReplacedOnlyByWhoKnowsIt(t *testing.T) {
	t.Parallel()
	for name, boards := range map[string]func(*testing.T) (one, two *Board){
		"alone": func(*testing.T) (*Board, *Board) {
			b := New(nil, "", time.Hour, nil, zap.NewNop())
			return b, b
		},
		"shared": func(t *testing.T) (*Board, *Board) { return replica(t, server), replica(t, server) },
	} {
		t.Run(name, func(t *testing.T) {
			one, two := boards(t)
			if r, v := one.Record(); r != nil || v != 0 {
				t.Fatalf("a new board has the record %q, version %d", r, v)
			}
			first := propose(t, one, "first", 0, true)
			until(t, "two reads the record", func() bool { r, v := two.Record(); return string(r) == "first" && v == first })
			second := propose(t, two, "second", first, true)
			propose(t, one, "late", first, false)
			until(t, "one reads the second record", func() bool { r, v := one.Record(); return string(r) == "second" && v == second })
		})
	}
}

func propose(t *testing.T, b *Board, record string, version int64, want bool) (next int64) {
	t.Helper()
	next, err := b.Propose(t.Context(), []byte(record), version)
	if err != nil || next != 0 != want {
		t.Fatalf("proposing %q over version %d: %v, %v; accepted expected to be %v", record, version, next, err, want)
	}
	return next
}

func TestWhatRedisLosesIsNoticed(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	lost := propose(t, one, "record", 0, true)
	until(t, "two reads the record", func() bool { _, v := two.Record(); return v == lost })
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	before := two.Epoch(Bot, "bot")
	if err := one.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "two notices the loss", func() bool { _, v := two.Record(); return v == 0 && two.Epoch(Bot, "bot") > before })
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	// What the others knew of the life before is not taken for what stands there now.
	if propose(t, one, "another", 0, true) == lost {
		t.Error("a record of another life has the version of the one that was lost")
	}
	propose(t, two, "late", lost, false)
	until(t, "two hears again", func() bool { return !two.Writing(Bot, "bot") && two.Epoch(Bot, "bot") > before+1 })
}

func TestCutOffReplicaIsNotSureAndSaysLaterWhatItCouldNot(t *testing.T) {
	t.Parallel()
	lab, r := ownRedis(t)
	one := replica(t, r)
	r.Stop()
	until(t, "the lease runs out", func() bool { return !one.Sure() })
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	again, err := lab.StartRedisAt(r.Port)
	if err != nil {
		t.Fatal(err)
	}
	two := replica(t, again)
	until(t, "two hears of the write that was made meanwhile", func() bool { return two.Epoch(Bot, "bot") > 0 })
	until(t, "one is sure again", one.Sure)
}

func TestOthersHearOfANotice(t *testing.T) {
	t.Parallel()
	heard := make(chan Subject, 10)
	one := replica(t, server)
	listening(t, server, func(s Subject) { heard <- s })
	want := Subject{Key, "backtest:x:y:z"}
	one.Post(want)
	for s := (Subject{}); s != want; {
		select {
		case s = <-heard:
		case <-time.After(20 * time.Second):
			t.Fatal("two was not told of the key to drop")
		}
	}
}
