package board

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A Redis that is restarted from its last snapshot, as one that was killed is, has forgotten what came
// after it, and gives the numbers of the notices that it has lost to new ones.
func TestRedisThatGoesBackToItsSnapshotIsNotBelieved(t *testing.T) {
	t.Parallel()
	lab, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	old := propose(t, one, "old", 0, true)
	dir, err := one.client.ConfigGet(t.Context(), "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := one.client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	propose(t, one, "new", old, true)
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	until(t, "two has read all of it", func() bool {
		_, v := two.Record()
		return v == old+1 && two.Epoch(Bot, "bot") > 0 && !two.Writing(Bot, "bot")
	})
	epoch := two.Epoch(Bot, "bot")

	r.Stop()
	if _, err := lab.StartRedisFrom(dir["dir"], r.Port); err != nil {
		t.Fatal(err)
	}
	until(t, "two believes nothing of before", func() bool { return two.Epoch(Bot, "bot") > epoch })
	if record, v := two.Record(); v != 0 {
		t.Errorf("the record went back to %q, whose successors were given out already", record)
	}
	until(t, "both are sure again", func() bool { return one.Sure() && two.Sure() })
	epoch = two.Epoch(Bot, "other")
	one.Begin(t.Context(), Subject{Bot, "other"}).End(true)
	until(t, "two hears of a write", func() bool { return two.Epoch(Bot, "other") > epoch && !two.Writing(Bot, "other") })
}

// While Redis is away another replica can't tell of a write, and it may never come to it.
func TestNothingOfBeforeIsBelievedWhenRedisIsBack(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	epoch := two.Epoch(Bot, "bot")
	if err := r.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "the leases run out", func() bool { return !one.Sure() && !two.Sure() })
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	_ = one.client.Close()
	if err := r.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "two is sure again", func() bool { return two.Sure() })
	if two.Epoch(Bot, "bot") == epoch {
		t.Error("two is sure of what it knew before Redis was away")
	}
}

// A Redis that is full may evict any key, as its policy says.
func TestRedisThatHasEvictedAPartOfTheBoardIsNotBelieved(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	for _, key := range one.keys.list() {
		t.Run(key, func(t *testing.T) {
			_, before := one.Record()
			agreed := propose(t, one, "agreed", before, true)
			write := one.Begin(t.Context(), Subject{Bot, "edited"})
			until(t, "two knows of the write", func() bool { return two.Writing(Bot, "edited") })
			epoch := two.Epoch(Bot, "bot")
			if n, err := one.client.Del(t.Context(), key).Result(); err != nil || n != 1 {
				t.Fatalf("deleted %d of %s: %v", n, key, err)
			}
			until(t, "two believes nothing of before", func() bool { return two.Epoch(Bot, "bot") > epoch })
			until(t, "both are sure again", func() bool { return one.Sure() && two.Sure() })
			if !two.Writing(Bot, "edited") {
				t.Error("the write under way has been forgotten")
			}
			write.End(true)
			until(t, "two knows of its end", func() bool { return !two.Writing(Bot, "edited") })
			want := agreed
			if key == one.keys.meta {
				want = 0
			}
			if _, v := two.Record(); v != want {
				t.Errorf("the record has the version %d, want %d", v, want)
			}
		})
	}
}

// A notice that is lost before another replica has read it must not let the write go on as if it had been.
func TestWriteWaitsForReplicasThatARedisHasEvicted(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	for range 20 {
		writesAfterLoss(t, one, two, one.keys.replicas)
	}
}

// writesAfterLoss has one write when Redis has just lost the key, and fails if two may go on as if nothing were.
func writesAfterLoss(t *testing.T, one, two *Board, key string) {
	t.Helper()
	epoch := two.Epoch(Bot, "bot")
	one.client.Del(t.Context(), key)
	write := one.Begin(t.Context(), Subject{Bot, "bot"})
	if two.Sure() && two.Epoch(Bot, "bot") == epoch && !two.Writing(Bot, "bot") {
		t.Fatal("the write has begun while another replica is sure of what was before")
	}
	write.End(true)
	until(t, "both are sure again", func() bool { return one.Sure() && two.Sure() })
}

func TestWhatWasAgreedOnOutlivesTheReplicas(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	t.Run("one", func(t *testing.T) { propose(t, replica(t, r), "agreed", 0, true) })
	two := replica(t, r)
	if record, _ := two.Record(); string(record) != "agreed" {
		t.Errorf("after the last replica has left the record is %q", record)
	}
}

// What stays true until the next start a replica that comes later must know as well.
func TestNewcomerIsToldWhatHoldsForGood(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one := replica(t, r)
	lasting := []Subject{{Foreign, "bot"}, {Route, "optimize"}}
	for _, s := range lasting {
		one.Begin(t.Context(), s).End(true)
	}
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	var mu sync.Mutex
	heard := map[Subject]bool{}
	listening(t, r, func(s Subject) {
		mu.Lock()
		defer mu.Unlock()
		heard[s] = true
	})
	mu.Lock()
	defer mu.Unlock()
	for _, s := range lasting {
		if !heard[s] {
			t.Errorf("a newcomer has not heard of %c %s; it heard %v", s.Class, s.Name, heard)
		}
	}
}

// A write that began while Redis was away is known to be under way once it is back, and its end when it ends.
func TestWriteThatRedisDidNotTakeIsToldWhenItIsBack(t *testing.T) {
	t.Parallel()
	for name, certain := range map[string]bool{"and has ended": true, "and may go on": false} {
		t.Run(name, func(t *testing.T) {
			_, r := ownRedis(t)
			one, two := replica(t, r), replica(t, r)
			if err := r.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			until(t, "the leases run out", func() bool { return !one.InTouch() && !two.InTouch() })
			write := one.Begin(t.Context(), Subject{Bot, "bot"})
			if err := r.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			until(t, "two is sure again", two.Sure)
			if !two.Writing(Bot, "bot") {
				t.Error("two is sure, and does not know of the write that is under way")
			}
			epoch := two.Epoch(Bot, "bot")
			write.End(certain)
			until(t, "two knows of the end", func() bool { return two.Epoch(Bot, "bot") > epoch })
			if got := two.Writing(Bot, "bot"); got == certain {
				t.Errorf("after an end that is certain (%v) two takes the write to be under way: %v", certain, got)
			}
		})
	}
}

// The numbers of notices go on where they were, or a new one would be taken for one that was read long ago.
func TestNumbersOfNoticesOutliveTheirCount(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	for i := range 30 {
		one.Begin(t.Context(), Subject{Bot, fmt.Sprint("old ", i)}).End(true)
	}
	for range 10 {
		writesAfterLoss(t, one, two, one.keys.seq)
	}
	before := two.Epoch(Bot, "old 7")
	for i := range 5 { // as many looks as it takes to read these
		epoch := two.Epoch(Bot, "new")
		one.Begin(t.Context(), Subject{Bot, "new"}).End(true)
		until(t, "two has read another notice", func() bool { return two.Epoch(Bot, "new") > epoch })
		if got := two.Epoch(Bot, "old 7"); got != before {
			t.Fatalf("look %d: an old notice is read again: epoch %d, before %d", i, got, before)
		}
	}
}

// Replicas that were cut off come back one by one, with what they could not say.
func TestAbsence(t *testing.T) {
	t.Parallel()
	const now, old = 100 * time.Second, 10 * time.Second
	for _, c := range []struct {
		name  string
		away  absence
		born  time.Duration
		alone bool
		want  time.Duration
	}{
		{"it never was away", absence{}, old, false, 0},
		{"a newcomer to an old board", absence{lost: true, first: true}, old, true, old + youth},
		{"a newcomer to a new one", absence{lost: true, first: true, failed: true}, now - lease, true, now - lease + youth},
		{"a flush", absence{lost: true}, now - lease, false, 0},
		{"a restart", absence{lost: true, lapsed: true, failed: true}, now - lease, false, now + youth},
		{"a restart, and nobody else was there", absence{lost: true, lapsed: true, failed: true}, now - lease, true, 0},
		{"redis hung", absence{lapsed: true, failed: true}, old, false, now + youth},
		{"redis hung, and nobody else was there", absence{lapsed: true, failed: true}, old, true, now + lease},
		{"this replica was stalled", absence{lapsed: true}, old, false, now + lease},
	} {
		if got := c.away.until(now, c.born, c.alone); got != c.want {
			t.Errorf("%s: sure from %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWhatCouldNotBeSaidIsBoundedByItsClass(t *testing.T) {
	t.Parallel()
	b := New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), "x:", time.Hour, func(Subject) {}, zap.NewNop())
	defer b.client.Close()
	b.Post(Subject{Foreign, "bot"})
	for i := range maxMarks + 10 {
		b.Post(Subject{Answer, fmt.Sprint(i)})
	}
	if n := len(b.unsaid); n > maxMarks || !b.unsaid[saying{Subject{Foreign, "bot"}, ""}] || !b.unsaid[saying{Subject{Class: Answer}, ""}] {
		t.Errorf("%d notices wait to be said; that of a foreign run: %v", n, b.unsaid[saying{Subject{Foreign, "bot"}, ""}])
	}
}

// One who has come back goes on being unsure for as long as the others may take, however often it looks meanwhile.
func TestReplicaThatHasComeBackIsNotSureBeforeTheOthersCanBe(t *testing.T) {
	t.Parallel()
	lab, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	until(t, "they know of each other", func() bool { return !one.alone.Load() && !two.alone.Load() })
	r.Stop()
	until(t, "the leases run out", func() bool { return !one.InTouch() && !two.InTouch() })
	if _, err := lab.StartRedisAt(r.Port); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Board{one, two} {
		until(t, "it is in touch", b.InTouch)
	}
	until(t, "one is sure again", func() bool {
		if one.Sure() && one.Young() {
			t.Fatal("sure while others may have yet to come back")
		}
		return one.Sure()
	})
}
