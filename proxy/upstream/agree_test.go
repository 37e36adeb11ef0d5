package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/proxy/board"
	"warmfront/test/harness"
)

// cutOff is a watch on a Redis that can be taken away from it and given back.
type cutOff struct {
	*DataWatch
	t      *testing.T
	redis  *harness.Redis
	prices *prices
}

func shared(t *testing.T, before func(*redis.Client)) *cutOff {
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
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1)}, text: `{"dataDate":"x"}`}
	w := joined(t, &cutOff{redis: r, prices: p})
	w.until(w.board.InTouch)
	if before != nil {
		client := redis.NewClient(&redis.Options{Addr: r.Address})
		defer client.Close()
		before(client)
	}
	return w
}

// joined is another replica, with the same Redis and server as one that is there.
func joined(t *testing.T, there *cutOff) *cutOff {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: there.redis.Address, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second, DialerRetries: 1})
	b := board.New(client, "test:", time.Hour, func(board.Subject) {}, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); _ = client.Close() })
	c, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if _, version := b.Record(); version == 0 && b.Young() {
			t.Error("the server is asked while others may have more to tell than it has")
		}
		there.prices.ServeHTTP(rw, r)
	})
	d := NewDataWatch(c, NewAdmin(c, "", "", ""), b, DataSettings{Canaries: []string{"SPY"}, Interval: time.Hour, Settle: time.Hour}, zap.NewNop())
	return &cutOff{d, t, there.redis, there.prices}
}

func (w *cutOff) until(ok func() bool) {
	w.t.Helper()
	if err := harness.Until(20*time.Second, func() error {
		if !ok() {
			return fmt.Errorf("not yet")
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

// without runs f while Redis hangs, and returns when the board is in touch with it again.
func (w *cutOff) without(f func()) {
	w.t.Helper()
	_ = w.redis.Signal(syscall.SIGSTOP)
	w.until(func() bool { return !w.board.InTouch() })
	f()
	_ = w.redis.Signal(syscall.SIGCONT)
	w.until(w.board.InTouch)
}

func (w *cutOff) poll() {
	w.t.Helper()
	if err := w.Poll(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func TestWhatHappenedWhileRedisWasAwayIsNotForgottenWhenItIsBack(t *testing.T) {
	for name, happens := range map[string]func(*cutOff){
		"an admin cleared the server": func(w *cutOff) { w.ServerCleared(context.Background(), "", true) },
		"a sync was started":          func(w *cutOff) { w.SyncStarted(context.Background()) },
		"the data was seen to move": func(w *cutOff) {
			w.prices.mu.Lock()
			w.prices.candles["SPY"] = candles("2026-01-14", 2)
			w.prices.mu.Unlock()
			w.poll()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := shared(t, nil)
			w.poll()
			before, sure := w.Current()
			if !sure {
				t.Fatal("not sure at the start")
			}
			_, first := w.board.Record()
			w.without(func() { happens(w) })
			if now, sure := w.Current(); sure && now.Generation() == before.Generation() {
				t.Error("with Redis back, the generation of before is believed again")
			}
			w.poll()
			after, sure := w.Current()
			if !sure || after.Generation() == before.Generation() {
				t.Errorf("generation %s, before %s, sure %v", after.Generation(), before.Generation(), sure)
			}
			if raw, version := w.board.Record(); version == first {
				t.Errorf("the others were not told: %s, version %d", raw, version)
			}
		})
	}
}

func TestChangeThatComesDuringALookIsNotTakenForToldWithIt(t *testing.T) {
	w := shared(t, nil)
	w.poll()
	before, _ := w.Current()
	b := w.base() // a look begins, and Redis goes away and comes back before it ends
	w.without(func() { w.ServerCleared(context.Background(), "", true) })
	next := b.known.clone()
	next.Text = "moved"
	if !w.commit(context.Background(), next, b) {
		t.Fatal("the look's record was not accepted")
	}
	if now, sure := w.Current(); sure && now.Generation() == before.Generation() {
		t.Error("the clearing was forgotten at once")
	}
	w.poll()
	if now, sure := w.Current(); !sure || now.Generation() == before.Generation() {
		t.Errorf("the clearing was forgotten: sure %v, generation %s", sure, now.Generation())
	}
}

func TestRecordThatCannotBeReadIsReplaced(t *testing.T) {
	w := shared(t, func(c *redis.Client) {
		c.HSet(context.Background(), "test:{board}:meta", "version", 7, "record", `{"number":"x"`)
	})
	w.until(func() bool { _, version := w.board.Record(); return version == 7 })
	w.poll()
	if state, sure := w.Current(); !sure || state.Date != "2026-01-13" {
		t.Errorf("state %+v, sure %v", state, sure)
	}
}

// A newcomer has found what it knows; one that was without Redis goes on from what it found then.
func TestARecordOfSomebodyWhoKnewNothingDoesNotMakeOthersForgetWhatWentBefore(t *testing.T) {
	for name, after := range map[string]string{"found on the empty board": "", "found before Redis came": "something else"} {
		t.Run(name, func(t *testing.T) {
			w := shared(t, nil)
			w.inSync()
			w.flush()
			w.until(func() bool { _, version := w.board.Record(); return version == 0 && w.board.InTouch() })
			found := record{
				Life: "newcomer's", After: after, Number: 1, Begun: after != "", Phase: settled, Date: "2026-01-14", Text: "x",
				Tickers: map[string]candle{},
			}
			raw, err := json.Marshal(found)
			if err != nil {
				t.Fatal(err)
			}
			if version, err := w.board.Propose(t.Context(), raw, 0); err != nil || version == 0 {
				t.Fatalf("the newcomer's record: %v, %v", version, err)
			}
			if state, sure := w.Current(); sure {
				t.Errorf("sure of %+v before the others were told", state)
			}
			w.poll()
			state, sure := w.Current()
			if !sure || !state.Begun || !state.Provisional || !state.TablesStale || state.record.root() != "newcomer's" {
				t.Errorf("sure %v of %+v; want a generation that has begun, in a sync, with stale tables", sure, state)
			}
		})
	}
}

// inSync has the watch know of a sync, and of tables from before it.
func (w *cutOff) inSync() *DataState {
	w.t.Helper()
	w.poll()
	w.prices.mu.Lock()
	w.prices.candles["SPY"] = candles("2026-01-14", 1)
	w.prices.mu.Unlock()
	w.poll()
	state, _ := w.Current()
	return state
}

// flush has Redis lose everything.
func (w *cutOff) flush() {
	w.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: w.redis.Address})
	defer client.Close()
	if err := client.FlushAll(w.t.Context()).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// Who knew what the board has lost may come back to Redis later than a newcomer, and may be waiting for a server
// that is busy.
func TestNewcomerToABoardThatHasLostEverythingTakesWhatOthersKnew(t *testing.T) {
	w := shared(t, nil)
	before := w.inSync()
	w.prices.mu.Lock() // the server is busy
	w.flush()
	n := joined(t, w)
	w.until(n.board.InTouch)
	ctx, cancel := context.WithCancel(t.Context())
	var found, told sync.WaitGroup
	found.Go(n.poll)
	told.Go(func() { w.tell(ctx) })
	w.Poke()
	w.until(func() bool { _, version := n.board.Record(); return version != 0 })
	w.prices.mu.Unlock()
	found.Wait()
	cancel()
	told.Wait()
	w.until(func() bool { _, sure := n.Current(); return sure }) // the others have had their time to come back
	state, sure := n.Current()
	if !sure || !state.Begun || !state.Provisional || !state.TablesStale || state.record.After != before.record.root() {
		t.Errorf("the newcomer is sure (%v) of %+v; want what went before: a sync, stale tables, after %s", sure, state, before.record.root())
	}
}

func TestNewcomerToAnEmptyBoardBeginsWhenNobodyTells(t *testing.T) {
	w := shared(t, nil)
	w.poll()
	if state, sure := w.Current(); !sure || state.Begun || w.board.Young() {
		t.Errorf("sure %v of %+v, young %v; want a record that was found on a board that others had time to come back to", sure, state, w.board.Young())
	}
}

func TestSyncThatStartsBeforeAnythingIsKnownIsNotForgotten(t *testing.T) {
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1)}, text: `{"dataDate":"x"}`}
	c, _ := serve(t, p.ServeHTTP)
	d := watch(c, zap.NewNop(), "SPY")
	d.SyncStarted(context.Background())
	for range 2 {
		if err := d.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
		if state, sure := d.Current(); sure && !state.Provisional {
			t.Fatalf("sure of %+v during a sync", state)
		}
	}
	if state, sure := d.Current(); !sure || !state.Begun {
		t.Errorf("sure %v of %+v; want a generation that has begun", sure, state)
	}
}
