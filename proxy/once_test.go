package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"warmfront/config"
	"warmfront/proxy/store"
	"warmfront/test/harness"
)

// startReplicas gives so many Proxies in front of s that share a Redis and are sure of the data.
func startReplicas(t *testing.T, s *fakeServer, n int) []*Proxy {
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
	all := make([]*Proxy, n)
	for i := range all {
		p := startProxy(t, s, func(cfg *config.Config) { cfg.RedisURL, cfg.RedisPrefix = config.Secret(r.URL()), "test:" })
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		t.Cleanup(func() { cancel(); running.Wait() })
		all[i] = p
	}
	for _, p := range all {
		until(t, func() error {
			if _, _, _, ok := p.Data(); !ok || !p.board.Sure() {
				return errors.New("a replica is not sure of the data")
			}
			return nil
		})
	}
	return all
}

func TestReplicasThatWaitForAServerThatFailsTryOneAfterTheOther(t *testing.T) {
	var at, most, calls atomic.Int32
	release := make(chan struct{})
	s := &fakeServer{}
	all := startReplicas(t, s, 4)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		calls.Add(1)
		<-release
		at.Add(-1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	answers := make([]*httptest.ResponseRecorder, len(all))
	var clicks sync.WaitGroup
	for i, p := range all {
		clicks.Go(func() { answers[i] = run(p, `{}`, nil) })
	}
	for _, p := range all {
		until(t, func() error {
			if p.UsersWaiting() == 0 {
				return errors.New("a replica does not wait yet")
			}
			return nil
		})
	}
	close(release)
	clicks.Wait()
	for _, a := range answers {
		if a.Code != http.StatusServiceUnavailable {
			t.Errorf("a replica answered %d\n%s", a.Code, a.Body)
		}
	}
	// Each fails by a call of its own. On a busy machine Redis may be too slow to say whose turn it is, now and then.
	if calls.Load() != 4 || most.Load() == 4 {
		t.Errorf("%d calls, %d of them at once", calls.Load(), most.Load())
	}
}

func TestWhatIsToldOfAResult(t *testing.T) {
	in := func(is bool) <-chan bool { c := make(chan bool, 1); c <- is; return c }
	answer := func(status int) *rawAnswer { return &rawAnswer{status: status} }
	for _, c := range []struct {
		name string
		res  *result
		note string
	}{
		{"in Redis", &result{entry: &store.Entry{}, shared: in(true)}, noteKept},
		{"not taken by Redis", &result{entry: &store.Entry{}, shared: in(false)}, noteNotKept},
		{"no answer", &result{err: errUpstreamTimeout}, noteFailed},
		{"half an answer", &result{answer: &rawAnswer{status: 200, broken: errors.New("cut")}}, noteFailed},
		{"too much", &result{answer: answer(429), reason: "status"}, noteFailed},
		{"not there", &result{answer: answer(503), reason: "status"}, noteFailed},
		{"an error of the engine", &result{answer: answer(500), reason: "status"}, noteNotKept},
		{"a refusal", &result{answer: answer(403), reason: "status"}, noteNotKept},
		{"not to be stored", &result{answer: answer(200), reason: "cache-control"}, noteNotKept},
	} {
		if got := noteOf(c.res); got != c.note {
			t.Errorf("%s: %q, want %q", c.name, got, c.note)
		}
	}
}
