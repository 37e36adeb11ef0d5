package oracle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"warmfront/test/harness"
)

// A Plan is how a run is made: which world, which operations, from how many workers.
type Plan struct {
	Settings
	Mix      Mix
	Direct   float64 // share of writes that go around Warmfront
	Delay    float64 // share of requests that the server is slow with
	Calms    bool    // between times in which much happens
	Workers  int
	Replicas int  // how many Warmfronts are asked; 0 is the server itself
	Survey   bool // goes on after a wrong answer, to find others
}

// A run is the operations of one plan in one world, until they are done or one was answered wrong.
type run struct {
	world   *World
	checker *checker
	summary Summary
	busy    atomic.Int32 // operations under way

	mu   sync.Mutex
	past []happened // everything but what is checked
}

// happened is an operation that changed something, with its beginning and end.
type happened struct {
	op          Op
	began, over time.Time
}

// before tells what happened shortly before and while an answer came, for a failure's message.
func (r *run) before(q question) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, h := range r.past {
		began, over := h.began.UnixMilli()-q.From, h.over.UnixMilli()-q.From
		if h.op.Kind == "pause" || over < -3000 || h.began.UnixMilli() > q.To {
			continue
		}
		strategy := ""
		if h.op.Strategy != nil {
			strategy = fmt.Sprint(" strategy ", *h.op.Strategy)
		}
		fmt.Fprintf(&b, "    %+6d to %+6d ms: %s by %d %s%s\n", began, over, h.op.Kind, h.op.Replica, h.op.Path, strategy)
	}
	return b.String()
}

// errNoServer means that the stand-in itself has died: nothing is said of Warmfront.
var errNoServer = errors.New("the stand-in server has ended")

// play plays the operations and gives what was wrong, nil when nothing was. The error says that the
// test itself could not go on.
func play(lab *harness.Lab, p Plan, ops []Op) (*Summary, *Wrong, error) {
	world, err := newWorld(lab, p.Settings)
	if err != nil {
		return nil, nil, err
	}
	defer world.close()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	r := &run{world: world, summary: newSummary()}
	r.checker = newChecker(world, cancel, r.before, p.Survey)
	began := time.Now()
	next := make(chan Op)
	var workers sync.WaitGroup
	for range p.Workers {
		workers.Go(func() {
			for op := range next {
				if err := r.timed(ctx, op); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, op := range ops {
		select {
		case next <- op:
			r.summary.Ops++
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	wrong, err := r.checker.finish()
	r.summary.Wrong = r.checker.wrongs
	r.summary.Took = time.Since(began)
	r.summary.Checked = r.checker.checked
	if cause := context.Cause(ctx); err == nil && wrong == nil && cause != nil {
		err = cause
	}
	if err != nil {
		select {
		case <-world.up.Exited():
			err = errors.Join(errNoServer, err)
		default:
		}
		err = fmt.Errorf("%w\n%s", err, world.up.Tail(30))
	}
	if wrong != nil {
		wrong.Tail = world.tail()
	}
	return &r.summary, wrong, err
}

func (r *run) timed(ctx context.Context, op Op) error {
	r.busy.Add(1)
	defer r.busy.Add(-1)
	began := time.Now()
	err := r.do(ctx, op)
	if !op.Check {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.past = append(r.past, happened{op, began, time.Now()})
	}
	return err
}

// do does one operation. No answer is no error: replicas are being killed.
func (r *run) do(ctx context.Context, op Op) error {
	if !op.Check {
		r.summary.count("done: " + op.Kind)
	}
	switch op.Kind {
	case "restart":
		if op.Replica < 0 {
			return nil
		}
		return r.world.restart(op.Replica)
	case "flush":
		return r.world.tellRedis("FLUSHALL")
	case "evict": // as a Redis that is full may
		return r.world.tellRedis("DEL warmfront:{board}:" + op.Key)
	case "redis-stop":
		r.world.stopRedis()
		return nil
	case "redis-start":
		return r.world.startRedis()
	case "sync":
		return r.world.sync(op.Mode, time.Duration(op.TookMS)*time.Millisecond)
	case "memory-lost":
		return r.world.send(http.MethodPost, "/__test/restart", map[string]int{"downMs": op.TookMS}, nil)
	case "busy": // it computes, and answers nobody
		return r.world.send(http.MethodPost, "/__test/busy", map[string]int{"ms": op.TookMS}, nil)
	case "access": // from now on it is protected in that way
		return r.world.send(http.MethodPost, "/__test/access", map[string]string{"style": op.Mode}, nil)
	case "slow-build": // of the next price database
		return r.world.send(http.MethodPost, "/__test/busy", map[string]int{"buildMs": op.TookMS}, nil)
	case "current":
		return r.current(ctx, op)
	case "pause": // of a scenario: until time has passed for all that waits for it
		return r.pause(ctx, time.Duration(op.TookMS)*time.Millisecond)
	case "settled":
		return r.settled(ctx)
	case "noticed":
		return r.noticed(ctx)
	case "stalled":
		return r.stalled(ctx, op)
	case "quiet":
		return r.quiet()
	case "synced":
		return r.synced()
	}
	if op.DelayMS > 0 || op.LateMS > 0 {
		path, _, _ := strings.Cut(op.Path, "?")
		if err := r.world.up.Override(harness.Override{Method: op.Method, Path: path, Times: 1, DelayMS: op.DelayMS, AnswerDelayMS: op.LateMS}); err != nil {
			return err
		}
	}
	req, err := r.request(op)
	if err != nil {
		return err
	}
	before := time.Now()
	a, err := harness.Send(ctx, r.world.client, req)
	after := time.Now()
	if err != nil || a.Broken != nil {
		r.summary.unanswered(op, err)
		return nil
	}
	r.summary.answered(op, a)
	if op.Check {
		r.checker.check(op, a, before, after)
	}
	return nil
}

// pause lets time pass, as time is what a scenario's rule is about.
func (r *run) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}

// synced waits until the server's sync is over.
func (r *run) synced() error {
	return harness.Until(30*time.Second, func() error {
		var state struct{ Syncing bool }
		err := r.world.send(http.MethodGet, "/__test/state", nil, &state)
		if err == nil && state.Syncing {
			err = errors.New("the server is still syncing")
		}
		return err
	})
}

// noticed waits until each Warmfront has been seen to know of a sync.
func (r *run) noticed(ctx context.Context) error {
	var seen [len(r.world.replicas)]bool
	return harness.Until(30*time.Second, func() error {
		for i := range seen {
			_, ready, err := harness.Ready(r.world.url(i))
			seen[i] = seen[i] || err == nil && ready.Provisional || ctx.Err() != nil
		}
		if slices.Contains(seen[:], false) {
			return fmt.Errorf("a sync was noticed by the replicas: %v", seen)
		}
		return nil
	})
}

// quiet waits until what was begun before is over.
func (r *run) quiet() error {
	return harness.Until(30*time.Second, func() error {
		if n := r.busy.Load(); n > 1 { // one is this
			return fmt.Errorf("%d operations are under way", n-1)
		}
		return nil
	})
}

// settled waits until both Warmfronts take the data for settled.
func (r *run) settled(ctx context.Context) error {
	return harness.Until(30*time.Second, func() error {
		for i := range r.world.replicas {
			if _, ready, err := harness.Ready(r.world.url(i)); err != nil || (ready.Provisional && ctx.Err() == nil) {
				return fmt.Errorf("replica %d is not settled (%w)", i, err)
			}
		}
		return nil
	})
}
