package upstream

import (
	"context"
	"testing"
	"time"

	"warmfront/proxy/board"
)

// Another replica may have been told of a sync, or a clearing, in the last moments before touch was lost.
func TestDataIsBelievedWithoutRedisOnlyOnceItWasLookedAtSince(t *testing.T) {
	w := shared(t, nil)
	w.poll()
	w.tried.Store(true)
	other := joined(t, w)
	other.until(other.board.InTouch)
	other.board.Begin(t.Context(), board.Subject{Class: board.Bot, Name: "b"}).End(true) // after which each has read of the other
	w.poll()
	w.without(func() {
		w.until(w.board.CutOff)
		if _, sure := w.Current(); sure {
			t.Error("sure of the data, which was not looked at since touch was lost")
		}
		waited, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		w.Await(waited)
		if waited.Err() == nil {
			t.Error("the look was not waited for")
		}
		stop()
		w.poll()
		if _, sure := w.Current(); !sure {
			t.Error("not sure of the data, which was looked at since")
		}
		w.Await(t.Context()) // returns
	})
}
