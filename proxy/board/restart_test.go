package board

import (
	"syscall"
	"testing"
)

// A Redis that is restarted from its last snapshot, as one that was killed is, has forgotten what came
// after it, and gives the numbers of the notices that it has lost to new ones.
func TestRedisThatGoesBackToItsSnapshotIsNotBelieved(t *testing.T) {
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
