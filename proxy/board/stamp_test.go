package board

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestStampIsTheSameOnAllReplicasAndAnotherAfterEachNotice(t *testing.T) {
	one, two := replica(t, server), replica(t, server)
	seen := map[Stamp]bool{}
	agree := func(others ...*Board) Stamp {
		t.Helper()
		until(t, "the replicas have one stamp", func() bool {
			for _, b := range others {
				if b.Stamp("route") != one.Stamp("route") {
					return false
				}
			}
			return one.Stamp("route") != Stamp{}
		})
		return one.Stamp("route")
	}
	seen[agree(two)] = true
	for _, b := range []*Board{one, two, one} {
		write := b.Begin(context.Background(), Subject{Access, "route"})
		for _, each := range []*Board{one, two} {
			if s := each.Stamp("route"); s != (Stamp{}) {
				t.Errorf("stamp %q while a notice is on its way, want none", s)
			}
		}
		write.End(true)
		s := agree(two)
		if seen[s] {
			t.Errorf("stamp %q again after a notice", s)
		}
		seen[s] = true
		if other := one.Stamp("another"); other != (Stamp{life: unnoticed}) {
			t.Errorf("the stamp of another route is %q", other)
		}
	}
	agree(two, replica(t, server)) // who comes late knows it too
}

func TestStampOfAReplicaThatIsAloneMovesToo(t *testing.T) {
	b := New(nil, "", time.Hour, func(Subject) {}, zap.NewNop())
	before := b.Stamp("route")
	b.Begin(context.Background(), Subject{Access, "route"}).End(true)
	if after := b.Stamp("route"); after == before || after == (Stamp{}) || before == (Stamp{}) {
		t.Errorf("stamp %q, then %q", before, after)
	}
}
