package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon fails the test when cond does not become true within a deadline.
func soon(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *flights) waiting(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.calls[key]; c != nil {
		return c.waiters
	}
	return 0
}

func TestAllWhoWaitShareOneCall(t *testing.T) {
	f := newFlights()
	release := make(chan struct{})
	var calls int
	var wg sync.WaitGroup
	var mu sync.Mutex
	joins := 0
	for range 50 {
		wg.Go(func() {
			res, joined, leave, err := f.do(context.Background(), "k", func(context.Context) *result {
				calls++
				<-release
				return &result{reason: "the one"}
			})
			defer leave()
			if err != nil || res.reason != "the one" {
				t.Errorf("do gave %v, %v", res, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if joined {
				joins++
			}
		})
	}
	soon(t, "50 wait", func() bool { return f.waiting("k") == 50 })
	close(release)
	wg.Wait()
	if calls != 1 || joins != 49 {
		t.Errorf("%d calls and %d joined, want 1 and 49", calls, joins)
	}
	f.wait()
}

func TestFirstCallerLeavesTheOthersAreServed(t *testing.T) {
	f := newFlights()
	release := make(chan struct{})
	first, leaveFirst := context.WithCancel(context.Background())
	call := func(ctx context.Context) *result {
		select {
		case <-release:
			return &result{reason: "served"}
		case <-ctx.Done():
			return &result{err: ctx.Err()}
		}
	}
	gone := make(chan error, 1)
	go func() {
		_, _, leave, err := f.do(first, "k", call)
		leave()
		gone <- err
	}()
	soon(t, "the first waits", func() bool { return f.waiting("k") == 1 })
	second := make(chan *result, 1)
	go func() {
		res, _, leave, _ := f.do(context.Background(), "k", call)
		defer leave()
		second <- res
	}()
	soon(t, "both wait", func() bool { return f.waiting("k") == 2 })
	leaveFirst()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	close(release)
	if res := <-second; res.err != nil || res.reason != "served" {
		t.Errorf("the one who stayed got %+v", res)
	}
	f.wait()
}

func TestLastOneToLeaveEndsTheCall(t *testing.T) {
	f := newFlights()
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		soon(t, "one waits", func() bool { return f.waiting("k") == 1 })
		cancel()
	}()
	_, _, leave, err := f.do(ctx, "k", func(ctx context.Context) *result {
		<-ctx.Done()
		close(ended)
		return &result{err: ctx.Err()}
	})
	leave()
	if err == nil {
		t.Error("do gave no error to a caller that left")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the call goes on though nobody waits for it")
	}
	f.wait()
	if n := f.waiting("k"); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

func TestWhoComesAfterEverybodyLeftGetsACallOfItsOwn(t *testing.T) {
	f := newFlights()
	hold := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		soon(t, "one waits", func() bool { return f.waiting("k") == 1 })
		cancel()
	}()
	_, _, leave, _ := f.do(ctx, "k", func(context.Context) *result { <-hold; return &result{reason: "old"} })
	leave()
	res, joined, leave, err := f.do(context.Background(), "k", func(context.Context) *result { return &result{reason: "new"} })
	leave()
	if err != nil || joined || res.reason != "new" {
		t.Errorf("got %+v, joined %v, %v; want a call of its own", res, joined, err)
	}
	close(hold)
	f.wait()
}

func TestPanicInACallFailsItsWaitersOnly(t *testing.T) {
	f := newFlights()
	res, _, leave, err := f.do(context.Background(), "k", func(context.Context) *result { panic("boom") })
	defer leave()
	if err != nil || res.err == nil || fmt.Sprint(res.err) != "panic while filling: boom" {
		t.Errorf("got %+v, %v", res, err)
	}
	f.wait()
}
