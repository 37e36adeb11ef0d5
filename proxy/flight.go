package proxy

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"
)

// flights lets all who wait for the same key share one call. The call has a context of its own:
// whoever started it may leave without hurting the others, and the last one to leave ends it.
type flights struct {
	group   singleflight.Group
	mu      sync.Mutex
	calls   map[string]*flight
	running sync.WaitGroup
}

// flight is one call under way and how many wait for it.
type flight struct {
	ctx     context.Context
	cancel  context.CancelFunc
	waiters int
}

func newFlights() *flights { return &flights{calls: map[string]*flight{}} }

// do gives the result of call for key, begun now or already under way (joined). What the result
// holds open stays open until every waiter has called leave, which is never nil. The error is ctx's.
func (f *flights) do(ctx context.Context, key string, call func(context.Context) *result) (res *result, joined bool, leave func(), err error) {
	f.mu.Lock()
	c, joined := f.calls[key]
	if !joined {
		// Values (trace ids) are the first caller's; its cancellation is not.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &flight{ctx: own, cancel: cancel}
		f.calls[key] = c
	}
	c.waiters++
	ended := f.group.DoChan(key, func() (any, error) {
		defer f.land(key, c)
		return guarded(c.ctx, call), nil
	})
	if !joined {
		f.running.Add(1)
	}
	f.mu.Unlock()

	leave = sync.OnceFunc(func() { f.leave(key, c) })
	select {
	case r := <-ended:
		return r.Val.(*result), joined, leave, nil
	case <-ctx.Done():
		leave()
		return nil, joined, leave, ctx.Err()
	}
}

// land ends a flight: who asks from now on starts another.
func (f *flights) land(key string, c *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget(key, c)
	f.running.Done()
}

// leave takes a waiter away. The last one cancels the call and whatever its result holds open.
func (f *flights) leave(key string, c *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	c.cancel()
	f.forget(key, c)
}

// forget makes key's next caller start afresh. The caller holds mu.
func (f *flights) forget(key string, c *flight) {
	if f.calls[key] == c {
		delete(f.calls, key)
		f.group.Forget(key)
	}
}

// wait returns when no call is under way.
func (f *flights) wait() { f.running.Wait() }

// guarded turns a panic of call into a failed result: singleflight would end the process with it.
func guarded(ctx context.Context, call func(context.Context) *result) (res *result) {
	defer func() {
		if v := recover(); v != nil {
			res = &result{err: fmt.Errorf("panic while filling: %v", v)}
		}
	}()
	return call(ctx)
}
