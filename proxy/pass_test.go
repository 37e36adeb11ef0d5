package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"warmfront/config"
)

// UPSTREAM_TIMEOUT is up to the first byte. The answer may begin before the request has gone out whole, whose end
// must not begin the wait then.
func TestPassedAnswerThatHasBegunInTimeIsNotCutOff(t *testing.T) {
	const timeout = 150 * time.Millisecond
	for name, header := range map[string]string{"bypassed": "1", "too large to be keyed": ""} {
		t.Run(name, func(t *testing.T) {
			s := &fakeServer{}
			p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout, c.MaxRequest = timeout, 4 })
			cut := make(chan bool, 1)
			s.backtest = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "{")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					cut <- true
				case <-time.After(4 * timeout):
					cut <- false
					_, _ = io.WriteString(w, "}")
				}
			}
			r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", strings.NewReader(`{"mode":"CC"}`))
			r.Header.Set("Content-Type", "application/json")
			if header != "" {
				r.Header.Set("X-Cache-Bypass", header)
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if body := w.Body.String(); <-cut || body != "{}" {
				t.Errorf("after %v the answer that had begun was %q (%d %v), want {}", timeout, body, w.Code, w.Header())
			}
		})
	}
}

// A client that is slow with its request has all the time it needs.
func TestSlowRequestIsNotTakenForASlowServer(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout = 150 * time.Millisecond })
	body, client := io.Pipe()
	go func() {
		_, _ = io.WriteString(client, `{"mode":`)
		<-time.After(450 * time.Millisecond)
		_, _ = io.WriteString(client, `"CC"}`)
		client.Close()
	}()
	r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", body)
	r.Header.Set("X-Cache-Bypass", "1")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusOK || len(s.bodies) != 1 || s.bodies[0] != `{"mode":"CC"}` {
		t.Errorf("a request that took 450 ms to come was answered %d %q; the server got %q", w.Code, w.Body, s.bodies)
	}
}

func TestPassedRequestWithoutABodyHasItsTimeToo(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout = 150 * time.Millisecond })
	s.mu.Lock() // the server hangs
	defer s.mu.Unlock()
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/api/candles/SPY?limit=nonsense", nil),
		httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest?what", http.NoBody),
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if got := w.Header().Get("X-Cache"); w.Code != http.StatusGatewayTimeout || got != "PASS" {
			t.Errorf("%s %s: %d, X-Cache %q; want 504 and PASS", r.Method, r.URL, w.Code, got)
		}
	}
}

// A run that was given up goes on at the server, and may save its metrics yet.
func TestPassedRunThatWasGivenUpIsNotTakenToBeOver(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout, c.MetricsWriteback = 150*time.Millisecond, true })
	s.backtest = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	if w := run(p, `{}`, http.Header{"X-Cache-Bypass": {"1"}}); w.Code != http.StatusGatewayTimeout {
		t.Fatalf("status %d, want 504", w.Code)
	}
	p.writeback.mu.Lock()
	defer p.writeback.mu.Unlock()
	if b := p.writeback.bots["bot-1"]; b == nil || b.runs != 0 || !time.Now().Before(b.unsure.Add(time.Second)) || b.unsure.IsZero() {
		t.Errorf("the run is taken to be over: %+v", b)
	}
}

// slowReader is a client that reads nothing before it is let.
type slowReader struct {
	httptest.ResponseRecorder
	reads chan struct{}
}

func (r *slowReader) Write(b []byte) (int, error) {
	<-r.reads
	return r.ResponseRecorder.Write(b)
}

func TestHitCountsForTheMetricsFromWhenItIsGiven(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(c *config.Config) { c.MetricsWriteback = true })
	for _, body := range []string{`{}`, `{"mode":"OO"}`} {
		expect(t, run(p, body, nil), "MISS")
	}
	slow := &slowReader{*httptest.NewRecorder(), make(chan struct{})}
	var reading sync.WaitGroup
	reading.Go(func() {
		r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		p.ServeHTTP(slow, r)
	})
	soon(t, "the metrics of the hit are sent although its client reads nothing", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.payload, "cagr") // the metrics are what was put last
	})
	close(slow.reads)
	reading.Wait()
}

func TestUserOfAnyRouteWaitsForTheServer(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.mu.Lock() // it computes
	var passing sync.WaitGroup
	for _, ctx := range []context.Context{t.Context(), ForWarming(t.Context())} {
		passing.Go(func() {
			p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/bots/bot-1", nil).WithContext(ctx))
		})
	}
	soon(t, "one user waits", func() bool { return p.UsersWaiting() == 1 })
	s.mu.Unlock()
	passing.Wait()
	if n := p.UsersWaiting(); n != 0 {
		t.Errorf("%d users wait after all were answered", n)
	}
}
