package upstream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func watch(c *Client, log *zap.Logger, canaries ...string) *DataWatch {
	return NewDataWatch(c, NewAdmin(c, "", "", ""), alone(), DataSettings{Canaries: canaries, Interval: time.Hour, Settle: time.Hour}, log)
}

func TestEveryChangeOfDataIsAnotherGeneration(t *testing.T) {
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1), "QQQ": candles("2026-01-12", 1)}, text: `{"dataDate":"Tue Jan 13"}`}
	c, down := serve(t, p.ServeHTTP)
	core, logged := observer.New(zap.InfoLevel)
	d := watch(c, zap.New(core), "SPY", "QQQ", "GONE")
	if state, sure := d.Current(); state != nil || sure {
		t.Fatalf("before any answer the state is %+v, sure %v", state, sure)
	}
	seen := map[string]string{}
	step := func(what, date string, changes bool, change func()) {
		t.Helper()
		before, _ := d.Current()
		p.mu.Lock()
		change()
		p.mu.Unlock()
		if err := d.Poll(context.Background()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		state, sure := d.Current()
		if !sure || state.Date != date || (before != nil && (state.Generation() != before.Generation()) != changes) {
			t.Errorf("%s: date %s, generation %s, sure %v; want date %s, changed %v from %+v", what, state.Date, state.Generation(), sure, date, changes, before)
		}
		if before != nil && changes {
			if was, ok := seen[state.Generation()]; ok {
				t.Errorf("%s: generation %s was that of %s", what, state.Generation(), was)
			}
			if !state.Begun {
				t.Errorf("%s: the generation was not seen to begin", what)
			}
		}
		seen[state.Generation()] = what
	}
	step("start", "2026-01-13", false, func() {})
	step("nothing new", "2026-01-13", false, func() {})
	step("next day", "2026-01-14", true, func() { p.candles["SPY"] = candles("2026-01-14", 1) })
	step("history restated", "2026-01-14", true, func() { p.candles["SPY"] = candles("2026-01-14", 2) })
	step("text empty on a Tuesday", "2026-01-14", true, func() { p.text = `{"dataDate":""}` })
	step("text can't be asked for", "2026-01-14", false, func() { p.text = "" })
	step("a canary's file is being rewritten", "2026-01-14", false, func() { delete(p.candles, "SPY") })
	step("backwards", "2026-01-12", true, func() { p.candles["SPY"] = candles("2026-01-11", 1) })
	if n := logged.FilterMessage("the data date went backwards").Len(); n != 1 {
		t.Errorf("going backwards was logged %d times, want once", n)
	}
	if n := logged.FilterMessageSnippet("canary ticker").Len(); n == 0 {
		t.Error("a canary without candles was not logged")
	}
	down()
	if err := d.Poll(context.Background()); !errors.Is(err, ErrDown) {
		t.Errorf("Poll of a server that is down: %v, want ErrDown", err)
	}
	if state, sure := d.Current(); state == nil || sure {
		t.Errorf("with the server down the state is %+v, sure %v; want the last one, not sure", state, sure)
	}
}

func TestNoDateIsKnownFromAServerWithoutCandles(t *testing.T) {
	for name, body := range map[string]string{"no candles": `{"candles":[]}`, "index.html": "<!doctype html>", "not an object": `[1]`} {
		p := &prices{candles: map[string]string{"SPY": body}, text: `{"dataDate":"x"}`}
		c, _ := serve(t, p.ServeHTTP)
		d := watch(c, zap.NewNop(), "SPY")
		err := d.Poll(context.Background())
		if state, _ := d.Current(); err == nil || state != nil {
			t.Errorf("%s: state %+v, %v", name, state, err)
		}
	}
}

func TestTickersInUseAreWatchedBesidesTheCanaries(t *testing.T) {
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1), "KO": candles("2026-01-13", 1)}, text: `{"dataDate":"x"}`}
	c, _ := serve(t, p.ServeHTTP)
	d := watch(c, zap.NewNop(), "SPY")
	d.Uses([]string{"KO", "NOSUCH"})
	for range 2 {
		if err := d.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := d.Current()
	p.mu.Lock()
	p.candles["KO"] = candles("2026-01-14", 1)
	p.mu.Unlock()
	if err := d.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after, _ := d.Current(); after.Generation() == before.Generation() || !after.Provisional || after.Date != "2026-01-13" {
		t.Errorf("a ticker in use moved: %+v; want another generation, provisional, of the canary's date", after)
	}
}

// A step of a sync as the record sees it: what is observed, how much later, and what the record is then.
type step struct {
	what        string
	after       time.Duration
	o           observation
	phase       phase
	moves       bool
	provisional bool
	cleared     *outcome // what the clearing comes to that follows; nil when it doesn't end
}

var flushedOnly = &outcome{flushed: true}

func obs(spy string, change ...func(*observation)) observation {
	o := observation{tickers: map[string]candle{"SPY": {Date: "2026-01-13", Hash: spy}}}
	for _, f := range change {
		f(&o)
	}
	return o
}

func schedule(running bool, newest string, succeeded bool) func(*observation) {
	return func(o *observation) { o.sync = &syncStatus{running: running, newest: newest, succeeded: succeeded} }
}

func said(text string) func(*observation) { return func(o *observation) { o.text = &text } }

func job(status string) func(*observation) {
	return func(o *observation) { o.jobs = map[string]string{"job": status} }
}

func TestASyncIsFollowedFromItsFirstSignToItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		admin bool
		start func(*record)
		steps []step
	}{
		"by its candles alone": {steps: []step{
			{"a file moved", 0, obs("b"), syncing, true, true, nil},
			{"nothing new", 10 * time.Minute, obs("b"), syncing, false, true, nil},
			{"another sign", 5 * time.Minute, obs("c"), syncing, true, true, nil},
			{"not long enough", 19 * time.Minute, obs("c"), syncing, false, true, nil},
			{"quiet for long enough", time.Minute, obs("c"), clearing, true, true, flushedOnly},
			{"and so it stays", time.Hour, obs("c"), settled, false, false, nil},
		}},
		"by the schedule, cleared by an admin": {admin: true, steps: []step{
			{"running", 0, obs("a", schedule(true, "1", true)), syncing, true, true, nil},
			{"still", time.Hour, obs("a", schedule(true, "1", true)), syncing, false, true, nil},
			{"moved", 0, obs("b", schedule(true, "1", true)), syncing, true, true, nil},
			{"succeeded", time.Second, obs("c", schedule(false, "2", true)), clearing, true, true, nil},
			{"being cleared", time.Second, obs("c", schedule(false, "2", true)), clearing, false, true, nil},
			{"taken over", 9 * time.Minute, obs("c", schedule(false, "2", true)), clearing, false, true, nil},
			{"given up", 2 * time.Minute, obs("c", schedule(false, "2", true)), settled, true, false, nil},
		}},
		"by the schedule, failed": {admin: true, steps: []step{
			{"running", 0, obs("a", schedule(true, "1", true)), syncing, true, true, nil},
			{"failed", time.Minute, obs("b", schedule(false, "2", false)), syncing, true, true, nil},
			{"quiet for long enough", 20 * time.Minute, obs("b", schedule(false, "2", false)), clearing, true, true, nil},
		}},
		"between two looks": {admin: true, steps: []step{
			{"it is over already", 0, obs("a", schedule(false, "2", true)), clearing, true, true, nil},
		}},
		"by a job that passed": {start: func(r *record) { r.Jobs = []string{"job"}; r.sign(start); r.bump(start) }, steps: []step{
			{"running", time.Minute, obs("a", job("running")), syncing, false, true, nil},
			{"done", time.Minute, obs("b", job("done")), clearing, true, true, flushedOnly},
			{"the next one is quick", time.Second, obs("c"), syncing, true, true, nil},
		}},
		"by a job that ends while another sync goes on": {start: func(r *record) { r.Jobs, r.Unnamed = []string{"job"}, 1; r.sign(start); r.bump(start) }, steps: []step{
			{"done", time.Minute, obs("b", job("done")), syncing, true, true, nil},
			{"quiet for long enough", 20 * time.Minute, obs("b"), clearing, true, true, flushedOnly},
		}},
		"by a job that takes its time": {start: func(r *record) { r.Jobs = []string{"job"}; r.sign(start); r.bump(start) }, steps: []step{
			{"running", time.Hour, obs("a", job("running")), syncing, false, true, nil},
			{"still", time.Hour, obs("a", job("running")), syncing, false, true, nil},
			{"done", time.Minute, obs("a", job("done")), clearing, true, true, flushedOnly},
		}},
		"by a job that was lost": {start: func(r *record) { r.Jobs = []string{"job"}; r.sign(start); r.bump(start) }, steps: []step{
			{"not known", time.Minute, obs("b", job("")), syncing, true, true, nil},
			{"quiet for long enough", 20 * time.Minute, obs("b"), clearing, true, true, flushedOnly},
		}},
		"its text lags behind": {admin: false, start: func(r *record) { r.Jobs = []string{"job"}; r.sign(start); r.bump(start) }, steps: []step{
			{"done", time.Minute, obs("b", job("done"), said("old")), clearing, true, true, flushedOnly},
			{"the text moves", time.Minute, obs("b", said("new")), settled, true, false, nil},
			{"and again, out of the blue", time.Hour, obs("b", said("newer")), syncing, true, true, nil},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			at := func() terms {
				return terms{now: now, canaries: []string{"SPY"}, settle: 20 * time.Minute, admin: c.admin, replica: "me"}
			}
			r, _, _ := record{}.advance(obs("a", schedule(false, "1", true), said("old")), at())
			if r.Phase == clearing {
				r.end(now, []string{"SPY"}, outcome{cleared: true, flushed: true})
			}
			if c.start != nil {
				c.start(&r)
			}
			for _, s := range c.steps {
				now = now.Add(s.after)
				next, news, changed := r.advance(s.o, at())
				moved := next.generation() != r.generation()
				if s.phase == clearing && r.Phase != clearing {
					moved = moved || changed // the generation begins once the server is cleared
				}
				if next.Phase != s.phase || moved != s.moves || (next.Phase != settled) != s.provisional || moved && !changed {
					t.Fatalf("%s: %s, generation %d after %d (%s), changed %v; want %s, moves %v",
						s.what, next.Phase, next.Number, r.Number, strings.Join(news, "; "), changed, s.phase, s.moves)
				}
				if r = next; s.cleared != nil {
					r.end(now, []string{"SPY"}, *s.cleared)
					if r.Phase != settled || r.Cleared != s.cleared.cleared || r.Flushed != s.cleared.flushed {
						t.Fatalf("%s: %+v once the clearing has ended as %+v", s.what, r, *s.cleared)
					}
				}
			}
		})
	}
}

var start = time.Date(2026, 1, 14, 23, 0, 0, 0, time.UTC)

func TestClearingIsTakenOverFromAReplicaThatDied(t *testing.T) {
	r := record{Number: 3, Phase: clearing, Claim: "other", ClaimUntil: start, ClearBy: start.Add(claimFor), Tickers: map[string]candle{}}
	at := terms{now: start.Add(time.Second), canaries: []string{"SPY"}, settle: time.Hour, admin: true, replica: "me"}
	next, _, changed := r.advance(obs("a"), at)
	if !changed || next.Claim != "me" || !next.ClaimUntil.After(at.now) {
		t.Errorf("claimed by %s until %v", next.Claim, next.ClaimUntil)
	}
	at.now = start.Add(-time.Second)
	if next, _, _ := r.advance(obs("a"), at); next.Claim != "other" {
		t.Errorf("taken over while the other is at it")
	}
}

func TestScheduleIsReadInBothShapes(t *testing.T) {
	for body, want := range map[string]*syncStatus{
		`{"status":{"isRunning":true},"lastSync":null}`:                                                     {running: true},
		`{"status":{"isRunning":false},"lastSync":{"timestamp":"2026-01-14T23:00:00Z","status":"success"}}`: {newest: "2026-01-14T23:00:00Z", succeeded: true},
		`{"status":{"isRunning":false},"lastSync":{"yfinance":null,"tiingo":{"timestamp":"2026-01-14","status":"error"},"tiingo_5d":{"timestamp":"2026-01-13","status":"success"}}}`: {newest: "2026-01-14"},
		`{"lastSync":null}`: nil, `<html>`: nil,
	} {
		got, err := syncOf([]byte(body))
		if (err != nil) != (want == nil) || err == nil && *got != *want {
			t.Errorf("%s: %+v, %v; want %+v", body, got, err, want)
		}
	}
}
