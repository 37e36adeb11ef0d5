package upstream

import (
	"context"
	"sync"
)

// turns lets callers share a call that begins after all of them have asked for it. A call that is
// under way already may have seen what was there before: who comes later waits for the next.
type turns[T any] struct {
	mu   sync.Mutex
	keys map[string]*turn[T]
}

// turn is a call and, once it has begun, the one after it.
type turn[T any] struct {
	done  chan struct{}
	next  *turn[T]
	value T
	err   error
}

func newTurns[T any]() *turns[T] { return &turns[T]{keys: map[string]*turn[T]{}} }

// do gives what call brings. The call has no caller's cancellation; who leaves, leaves alone.
func (t *turns[T]) do(ctx context.Context, key string, call func(context.Context) (T, error)) (value T, err error) {
	t.mu.Lock()
	running := t.keys[key]
	var mine *turn[T]
	switch {
	case running == nil:
		mine = &turn[T]{done: make(chan struct{})}
		t.keys[key] = mine
		go t.run(context.WithoutCancel(ctx), key, mine, call)
	case running.next == nil:
		mine = &turn[T]{done: make(chan struct{})}
		running.next = mine
		go func() {
			<-running.done
			t.run(context.WithoutCancel(ctx), key, mine, call)
		}()
	default:
		mine = running.next
	}
	t.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

func (t *turns[T]) run(ctx context.Context, key string, mine *turn[T], call func(context.Context) (T, error)) {
	mine.value, mine.err = call(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys[key] = mine.next; mine.next == nil {
		delete(t.keys, key)
	}
	close(mine.done)
}
