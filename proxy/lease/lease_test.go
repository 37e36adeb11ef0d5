package lease

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"warmfront/test/harness"
)

var server *harness.Redis

func TestMain(m *testing.M) {
	lab, err := harness.NewRedisLab()
	if err == nil {
		server, err = lab.StartRedis()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lease tests:", err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	_ = lab.Close()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreCurrent()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// replica's leases hear of one another; die ends its connection, as the end of its process would.
func replica(t *testing.T, r *harness.Redis) (l *Leases, die func()) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: r.Address, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second, DialerRetries: 1})
	l = New(client, t.Name()+":", func() bool { return true })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	die = sync.OnceFunc(func() { cancel(); running.Wait(); _ = client.Close(); l.Close() })
	t.Cleanup(die)
	until(t, func() error {
		n, err := client.PubSubNumSub(ctx, l.ended).Result()
		if err == nil && n[l.ended] == 0 {
			err = errors.New("nobody listens")
		}
		return err
	})
	return l, die
}

func until(t *testing.T, ok func() error) {
	t.Helper()
	if err := harness.Until(20*time.Second, ok); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, l *Leases, want error) *Lease {
	t.Helper()
	var h *Lease
	until(t, func() (err error) { // on a busy machine Redis may take longer than its patience to answer
		if h, err = l.Take(t.Context(), "x"); errors.Is(err, ErrUnknown) {
			return err
		}
		if !errors.Is(err, want) {
			t.Fatalf("taking the lease gave %v, want %v", err, want)
		}
		return nil
	})
	return h
}

func TestOneReplicaHasALeaseUntilItIsReleased(t *testing.T) {
	one, _ := replica(t, server)
	two, _ := replica(t, server)
	h := take(t, one, nil)
	w := two.Watch("x")
	defer w.Stop()
	take(t, two, ErrTaken)
	take(t, one, ErrTaken)
	h.Release("kept")
	until(t, func() error {
		if note, err := w.Wait(t.Context()); note != "kept" {
			return fmt.Errorf("heard %q (%v)", note, err)
		}
		return nil
	})
	later := take(t, two, nil)
	h.Release("again") // which is not its any more
	take(t, one, ErrTaken)
	later.Release("")
	one.Close()
	two.Close()
	take(t, one, nil).Release("")
}

func TestALeaseThatIsRenewedOutlivesItsTerm(t *testing.T) {
	one, _ := replica(t, server)
	two, _ := replica(t, server)
	h := take(t, one, nil)
	for end := time.Now().Add(2 * term); time.Now().Before(end); {
		take(t, two, ErrTaken)
		if _, err := two.Watch("none").Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.Release("")
}

func TestALeaseWhoseHolderDiedIsTaken(t *testing.T) {
	one, die := replica(t, server)
	two, _ := replica(t, server)
	h := take(t, one, nil)
	defer h.Release("")
	h.once.Do(func() { close(h.released) }) // nothing is told
	die()
	for {
		heir, err := two.Acquire(t.Context(), "x")
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		heir.Release("")
		return
	}
}

func TestAHolderWhoseLeaseIsAnothersEndsNothing(t *testing.T) {
	one, _ := replica(t, server)
	two, _ := replica(t, server)
	old := take(t, one, nil)
	one.client.Del(t.Context(), old.key()...) // Redis has lost it
	heir := take(t, two, nil)
	old.Release("old")
	one.Close()
	take(t, one, ErrTaken)
	heir.Release("")
}

func TestWithoutRedisNobodyWaits(t *testing.T) {
	var none *Leases
	if _, err := none.Take(t.Context(), "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("without Redis: %v", err)
	}
	if _, err := none.Acquire(t.Context(), "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("without Redis: %v", err)
	}
	none.Run(t.Context())
	none.Close()

	asked := New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), "", func() bool { return false })
	if _, err := asked.Take(t.Context(), "x"); !errors.Is(err, ErrUnknown) || strings.Contains(err.Error(), "refused") {
		t.Errorf("out of touch: %v", err)
	}
}

func TestATakeThatNobodyWaitedForIsGivenBack(t *testing.T) {
	lab, err := harness.NewRedisLab()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	r, err := lab.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	one, _ := replica(t, r)
	take(t, one, nil).Release("") // it is connected
	one.Close()
	if err := r.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Take(t.Context(), "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a Redis that hangs: %v", err)
	}
	if err := r.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	one.Close()
	take(t, one, nil).Release("")
}

func TestWaitersGoOneAfterTheOther(t *testing.T) {
	var all [5]*Leases
	for i := range all {
		all[i], _ = replica(t, server)
	}
	var at, most, done atomic.Int32
	var running sync.WaitGroup
	for _, l := range all {
		running.Go(func() {
			h, err := l.Acquire(t.Context(), "x")
			for errors.Is(err, ErrUnknown) {
				h, err = l.Acquire(t.Context(), "x")
			}
			if err != nil {
				t.Error(err)
				return
			}
			if n := at.Add(1); n > most.Load() {
				most.Store(n)
			}
			_, _ = l.Watch("none").Wait(t.Context())
			at.Add(-1)
			done.Add(1)
			h.Release("")
		})
	}
	running.Wait()
	if most.Load() != 1 || done.Load() != int32(len(all)) {
		t.Errorf("%d at once, %d in all", most.Load(), done.Load())
	}
}

func TestWhoLeavesWaitsNoLonger(t *testing.T) {
	one, _ := replica(t, server)
	two, _ := replica(t, server)
	h := take(t, one, nil)
	defer h.Release("")
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := two.Acquire(ctx, "x"); left <- err }()
	until(t, func() error {
		two.waiting.Lock()
		defer two.waiting.Unlock()
		if len(two.waiting.byName) == 0 {
			return errors.New("nobody waits yet")
		}
		return nil
	})
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnknown) {
		t.Errorf("who left was told %v", err)
	}
	if len(two.waiting.byName) > 0 {
		t.Errorf("who left is still waited for: %v", two.waiting.byName)
	}
}
