package upstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"warmfront/proxy/board"
	"warmfront/test/harness"
)

// busy is a server of bots that answers nothing while it is held.
type busy struct {
	*bots
	hold chan struct{} // closed: go on
}

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-b.hold:
	case <-r.Context().Done():
		return
	}
	b.bots.ServeHTTP(w, r)
}

// held gives revisions that know bot b, from a server that answers nothing any more until goOn is called.
func held(t *testing.T, interval, longest time.Duration, b *board.Board) (r *Revisions, server *busy, goOn func()) {
	t.Helper()
	server = &busy{bots: newBots(), hold: make(chan struct{})}
	close(server.hold)
	c, _ := serve(t, server.ServeHTTP)
	r = NewRevisions(c, interval, longest, b)
	t.Cleanup(r.Close)
	mustRevision(t, r)
	server.hold = make(chan struct{})
	goOn = func() { close(server.hold) }
	return r, server, goOn
}

// age makes what is known of bot b older.
func age(r *Revisions, by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := *r.known["b"]
	k.fetched = k.fetched.Add(-by)
	r.known["b"] = &k
}

func TestRevisionIsBelievedWhileABusyServerIsAskedAgain(t *testing.T) {
	r, server, goOn := held(t, time.Minute, time.Hour, alone())
	before := mustRevision(t, r)
	age(r, 2*time.Minute)
	server.payload.Store(`{"kind":"other"}`)
	for range 3 { // while the server has answered nothing
		if got := mustRevision(t, r); got != before {
			t.Fatalf("got %+v, want the last known %+v", got, before)
		}
	}
	goOn()
	if err := harness.Until(10*time.Second, func() error {
		if mustRevision(t, r) == before {
			return errors.New("what the server said late was not taken in")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if n := server.asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times, want twice: at first, and once again for all hits", n)
	}
}

func TestRevisionIsNotBelievedForEver(t *testing.T) {
	for name, makeOld := range map[string]func(r *Revisions, b *board.Board){
		"older than the longest": func(r *Revisions, _ *board.Board) { age(r, 2*time.Hour) },
		"a write passed": func(r *Revisions, b *board.Board) {
			b.Begin(t.Context(), board.Subject{Class: board.Bot, Name: "b"}).End(true)
		},
		"a write passed, and is aged": func(r *Revisions, b *board.Board) { age(r, 2*time.Minute); b.Post(board.Subject{Class: board.Bot}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := alone()
			r, server, goOn := held(t, time.Minute, time.Hour, b)
			before := mustRevision(t, r)
			makeOld(r, b)
			server.payload.Store(`{"kind":"other"}`)
			ctx, cancel := context.WithTimeout(t.Context(), 5*brief)
			defer cancel()
			if revs, sure, err := r.Of(ctx, Bots{IDs: []string{"b"}}); err == nil {
				t.Errorf("while the server says nothing Of gave %v, sure %v; want to wait", revs, sure)
			}
			goOn()
			if mustRevision(t, r) == before {
				t.Error("the old revision once the server answers")
			}
		})
	}
}

// An interval of 0 is for those who write around Warmfront and can't wait: each hit asks.
func TestWithoutAnIntervalEachHitWaitsForTheServer(t *testing.T) {
	r, _, goOn := held(t, 0, time.Hour, alone())
	defer goOn()
	ctx, cancel := context.WithTimeout(t.Context(), 5*brief)
	defer cancel()
	if revs, sure, err := r.Of(ctx, Bots{IDs: []string{"b"}}); err == nil {
		t.Errorf("Of gave %v, sure %v; want to wait", revs, sure)
	}
}

// What an idle server says is waited for: a write that went around Warmfront is seen after the interval.
func TestIdleServersAnswerIsTakenBeforeTheHit(t *testing.T) {
	b := newBots()
	c, down := serve(t, b.ServeHTTP)
	r := NewRevisions(c, time.Minute, time.Hour, alone())
	t.Cleanup(r.Close)
	before := mustRevision(t, r)
	b.payload.Store(`{"kind":"other"}`)
	if err := harness.Until(10*time.Second, func() error { // an idle server on a busy machine may take longer once
		age(r, 2*time.Minute)
		if mustRevision(t, r) == before {
			return errors.New("the old revision")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	b.status.Store(http.StatusNotFound)
	if err := harness.Until(10*time.Second, func() error {
		age(r, 2*time.Minute)
		if _, _, err := r.Of(t.Context(), Bots{IDs: []string{"b"}}); !errors.Is(err, ErrNoRevision) {
			return errors.New("a bot that is gone is still believed to be there")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	b.status.Store(0)
	mustRevision(t, r)
	down()
	age(r, 2*time.Minute)
	if err := harness.Until(10*time.Second, func() error {
		if _, sure, err := r.Of(t.Context(), Bots{IDs: []string{"b"}}); sure || err != nil {
			return errors.New("a server that refuses connections counts as one that is busy")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
