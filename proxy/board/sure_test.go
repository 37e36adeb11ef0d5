package board

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// A replica that knew of another goes on without Redis as one that is cut off; the only one does not.
func TestOnlyWhoKnewOfOthersIsCutOffWithoutRedis(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one := replica(t, r)
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := r.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	until(t, "one's lease runs out", func() bool { return !one.InTouch() })
	if one.CutOff() {
		t.Error("the only replica is cut off; there is nobody to be cut off from")
	}
	signal(syscall.SIGCONT)
	until(t, "one is sure again", one.Sure)

	two := replica(t, r)
	until(t, "one knows of two", func() bool { return !one.alone.Load() })
	began := time.Now()
	signal(syscall.SIGSTOP)
	until(t, "both are cut off", func() bool { return one.CutOff() && two.CutOff() })
	since := one.CutOffSince()
	if since.Before(began) || since.After(time.Now()) {
		t.Errorf("cut off since %v; Redis was taken away at %v", since, began)
	}
	until(t, "a look fails", func() bool { return one.Trouble() != nil })
	signal(syscall.SIGCONT)
	until(t, "one is sure again", one.Sure)
	if one.CutOff() || one.Trouble() != nil || !one.CutOffSince().Equal(since) {
		t.Errorf("after the outage: cut off %v, trouble %v, since %v; want neither, and still %v", one.CutOff(), one.Trouble(), one.CutOffSince(), since)
	}
}

// What others were writing when Redis went is in doubt for a while, not for as long as Redis is away.
func TestWriteOfAnotherReplicaIsNotUnderWayForEverWithoutRedis(t *testing.T) {
	t.Parallel()
	b := replica(t, server)
	b.mu.Lock()
	b.others[Subject{Data, ""}] = true
	b.mu.Unlock()
	b.Leave(t.Context())
	b.leaseEnds.Store(b.elapsed() - int64(inDoubt) + int64(time.Minute/2))
	if !b.Writing(Data, "") {
		t.Error("half a minute after Redis went the write counts as over")
	}
	b.leaseEnds.Store(b.elapsed() - int64(inDoubt) - 1)
	if b.Writing(Data, "") {
		t.Error("a minute after Redis went the write still counts as under way")
	}
}

// Users without the right to publish (an ACL without channels) read of writes all the same.
func TestReplicaThatMayNotPublishIsReadFrom(t *testing.T) {
	t.Parallel()
	_, r := ownRedis(t)
	one, two := replica(t, r), replica(t, r)
	if err := one.client.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	epoch := two.Epoch(Bot, "bot")
	one.Begin(t.Context(), Subject{Bot, "bot"}).End(true)
	if two.Sure() && two.Epoch(Bot, "bot") == epoch {
		t.Error("another replica has not read of the write when it is let through")
	}
	until(t, "two reads that it is over", func() bool { return two.Epoch(Bot, "bot") > epoch && !two.Writing(Bot, "bot") })
	if err := errors.Join(one.Trouble(), two.Trouble()); err != nil {
		t.Errorf("trouble %v; want none", err)
	}
}
