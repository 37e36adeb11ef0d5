package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/proxy/board"
	"warmfront/test/harness"
)

// looker is a replica that shares its looks, and counts them.
type looker struct {
	*DataWatch
	looks atomic.Int32
	down  func()  // the server, from where it stands
	die   func()  // the replica
	where *prices // what it looks at
}

const lookInterval = 200 * time.Millisecond

func startLooker(t *testing.T, r *harness.Redis, p *prices) *looker {
	t.Helper()
	w := &looker{where: p}
	client := redis.NewClient(&redis.Options{Addr: r.Address, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second, DialerRetries: 1})
	b := board.New(client, "test:", time.Hour, func(board.Subject) {}, zap.NewNop())
	var c *Client
	c, w.down = serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/candles/SPY" {
			w.looks.Add(1)
		}
		p.ServeHTTP(rw, r)
	})
	w.DataWatch = NewDataWatch(c, NewAdmin(c, "", "", ""), b, DataSettings{
		Canaries: []string{"SPY"}, Interval: lookInterval, Settle: time.Hour, Looks: NewLooks(client, "test:"),
	}, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	running.Go(func() { w.Run(ctx) })
	w.die = sync.OnceFunc(func() { cancel(); running.Wait(); _ = client.Close() })
	t.Cleanup(w.die)
	w.soon(t, "the replica is sure of the data", func() bool { _, sure := w.Current(); return sure })
	return w
}

func (w *looker) soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := harness.Until(20*time.Second, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func startLookers(t *testing.T) (leader, follower *looker, r *harness.Redis) {
	t.Helper()
	lab, err := harness.NewRedisLab()
	if err == nil {
		t.Cleanup(func() { _ = lab.Close() })
		r, err = lab.StartRedis()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1)}, text: `{"dataDate":"x"}`}
	one, two := startLooker(t, r, p), startLooker(t, r, p)
	// Which of them goes on looking is not said: each has looked itself, and one of them was last.
	a, b := one.looks.Load(), two.looks.Load()
	one.soon(t, "ten looks", func() bool { return one.looks.Load()+two.looks.Load() >= a+b+10 })
	if two.looks.Load()-b > one.looks.Load()-a {
		return two, one, r
	}
	return one, two, r
}

func TestOneReplicaLooksForAll(t *testing.T) {
	leader, follower, _ := startLookers(t)
	a, b := leader.looks.Load(), follower.looks.Load()
	asked := follower.askedAt.Load()
	leader.soon(t, "ten looks more", func() bool { return leader.looks.Load() >= a+10 || follower.looks.Load() >= b+10 })
	if n := follower.looks.Load() - b; n > 3 { // on a busy machine it may have to take over for a moment
		t.Errorf("the other replica looked %d times itself", n)
	}
	if _, sure := follower.Current(); !sure || follower.askedAt.Load() <= asked {
		t.Errorf("the replica that does not look is sure: %v, by a look of %v", sure, time.Unix(0, follower.askedAt.Load()))
	}
	leader.where.mu.Lock()
	leader.where.candles["SPY"] = candles("2026-01-14", 1)
	leader.where.mu.Unlock()
	follower.soon(t, "the follower knows of the new day", func() bool { state, _ := follower.Current(); return state.Date == "2026-01-14" })
}

func TestAReplicaLooksItselfWhenItMust(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(leader, follower *looker, r *harness.Redis)
	}{
		{"the one that looked is gone", func(leader, _ *looker, _ *harness.Redis) { leader.die() }},
		{"the other found the server down", func(leader, _ *looker, _ *harness.Redis) { leader.down() }},
		{"Redis hangs", func(_, _ *looker, r *harness.Redis) { _ = r.Signal(syscall.SIGSTOP) }},
		{"it is poked", func(_, follower *looker, _ *harness.Redis) { follower.Poke() }},
		{"it is asked about a ticker that nobody looks at", func(_, follower *looker, _ *harness.Redis) { follower.Uses([]string{"QQQ"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			leader, follower, r := startLookers(t)
			before := follower.looks.Load()
			c.do(leader, follower, r)
			follower.soon(t, fmt.Sprintf("it looks itself, as it has %d times before", before), func() bool { return follower.looks.Load() > before })
			_ = r.Signal(syscall.SIGCONT)
			follower.soon(t, "it is sure again", func() bool { _, sure := follower.Current(); return sure })
		})
	}
}

func TestALookFromTheFutureCountsForNobody(t *testing.T) {
	lab, err := harness.NewRedisLab()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	r, err := lab.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: r.Address})
	defer client.Close()
	l := NewLooks(client, "test:")
	if _, err := l.last(t.Context()); !errors.Is(err, errNoLook) {
		t.Errorf("before any look: %v", err)
	}
	l.note(t.Context(), pastLook{replica: "set back since", began: time.Now(), ended: time.Now().Add(time.Hour), version: 3})
	if k, err := l.last(t.Context()); !errors.Is(err, errNoLook) {
		t.Errorf("from the future: %+v, %v", k, err)
	}
	began := time.Now().Add(-2 * time.Second)
	l.note(t.Context(), pastLook{replica: "one", began: began, ended: began.Add(time.Second), version: 4, down: true})
	l.note(t.Context(), pastLook{replica: "before", began: began, ended: began, version: 3})
	k, err := l.last(t.Context())
	if err != nil || k.replica != "one" || k.version != 4 || !k.down || k.ended.After(time.Now()) || k.began.After(k.ended) {
		t.Errorf("the last look is %+v, %v", k, err)
	}
}
