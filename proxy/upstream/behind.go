package upstream

import (
	"context"
	"sync"
	"time"
)

const (
	// brief is for how long a hit waits for what is asked for behind it: a server that is idle has answered by then.
	brief = 20 * time.Millisecond
	// behindAtOnce bounds what is asked for behind hits at a time.
	behindAtOnce = 16
)

// behind asks the server for what a hit need not wait for: it knows an answer that will do while the server is busy. There
// is one call at a time for a key; who comes meanwhile joins it, and waits no longer than until the call is brief old.
type behind struct {
	slots   chan struct{}
	life    context.Context // ends with close
	end     context.CancelFunc
	running sync.WaitGroup

	mu struct { // guards what follows, and that nothing is started once closed
		sync.Mutex
		calls  map[string]*lateCall
		closed bool
	}
}

// lateCall is one under way, or over.
type lateCall struct {
	began time.Time
	done  chan struct{}
	err   error // once done
}

func newBehind() *behind {
	b := &behind{slots: make(chan struct{}, behindAtOnce)}
	b.life, b.end = context.WithCancel(context.Background())
	b.mu.calls = map[string]*lateCall{}
	return b
}

// start begins ask, or gives the call that is under way for the key.
func (b *behind) start(key string, ask func(context.Context) error) *lateCall {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.mu.calls[key]; c != nil {
		return c
	}
	c := &lateCall{began: time.Now(), done: make(chan struct{})}
	if b.mu.closed {
		c.err = context.Canceled
		close(c.done)
		return c
	}
	b.mu.calls[key] = c
	b.running.Go(func() {
		defer b.finish(key, c)
		select {
		case b.slots <- struct{}{}:
		case <-b.life.Done():
			c.err = b.life.Err()
			return
		}
		defer func() { <-b.slots }()
		c.err = ask(b.life)
	})
	return c
}

func (b *behind) finish(key string, c *lateCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.calls, key)
	close(c.done)
}

// wait gives the call's outcome if there is one before it is brief old; otherwise ended is false and it goes on.
func (c *lateCall) wait(ctx context.Context) (ended bool, err error) {
	select {
	case <-c.done:
		return true, c.err
	default:
	}
	left := brief - time.Since(c.began)
	if left <= 0 {
		return false, nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-c.done:
		return true, c.err
	case <-timer.C:
	case <-ctx.Done():
	}
	return false, nil
}

// close ends what is under way, and waits for it.
func (b *behind) close() {
	b.mu.Lock()
	b.mu.closed = true
	b.mu.Unlock()
	b.end()
	b.running.Wait()
}
