package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy/upstream"
)

// serverFunc is a server that takes its time, in a bubble where that passes at once.
type serverFunc func(*http.Request) (*http.Response, error)

// RoundTrip gives up when the request is, as a connection does.
func (f serverFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	answers := make(chan *http.Response, 1)
	go func() {
		if res, err := f(r); err == nil {
			answers <- res
		}
	}()
	select {
	case res := <-answers:
		res.Request, res.Body = r, cutOff{res.Body, r.Context()}
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

type cutOff struct {
	io.ReadCloser
	ctx context.Context
}

func (c cutOff) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if c.ctx.Err() != nil {
		return 0, c.ctx.Err()
	}
	return n, err
}

func answerOf(body io.Reader) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}
}

// later gives the text so long from now.
func later(wait time.Duration, text string) io.Reader {
	r, w := io.Pipe()
	go func() {
		time.Sleep(wait)
		_, _ = io.WriteString(w, text)
		w.Close()
	}()
	return r
}

// UPSTREAM_TIMEOUT is from when the request has gone out whole to the first byte of its answer, which may begin before
// that.
func TestOnlyTheServersSilenceIsBounded(t *testing.T) {
	const timeout = 2 * time.Minute
	for _, c := range []struct {
		name   string
		body   func() io.Reader
		server func(ctx context.Context, body io.Reader) (*http.Response, error)
		status int
		want   string
		took   time.Duration
	}{
		{"an answer that goes on for long", func() io.Reader { return strings.NewReader(`{}`) }, func(_ context.Context, body io.Reader) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, body)
			return answerOf(later(time.Hour, "late")), nil
		}, 200, "late", time.Hour},
		{"a request that comes slowly", func() io.Reader { return later(time.Hour, `{"mode":"CC"}`) }, func(_ context.Context, body io.Reader) (*http.Response, error) {
			read, err := io.ReadAll(body)
			return answerOf(bytes.NewReader(read)), err
		}, 200, `{"mode":"CC"}`, time.Hour},
		{"an answer that begins before the request has ended", func() io.Reader { return later(time.Hour, `{}`) }, func(_ context.Context, body io.Reader) (*http.Response, error) {
			go func() { _, _ = io.Copy(io.Discard, body) }()
			return answerOf(later(3*time.Hour, "early")), nil
		}, 200, "early", 3 * time.Hour},
		{"no answer", func() io.Reader { return later(time.Hour, `{}`) }, func(ctx context.Context, body io.Reader) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, body)
			<-ctx.Done()
			return nil, ctx.Err()
		}, 504, `{"error":"upstream unavailable"}`, time.Hour + timeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Proxy{cfg: &config.Config{UpstreamURL: &url.URL{Scheme: "http", Host: "server"}, UpstreamTimeout: timeout}}
				p.through = newPassThrough(p.cfg, serverFunc(func(r *http.Request) (*http.Response, error) { return c.server(r.Context(), r.Body) }), upstream.NewOrigins(nil, nil), zap.NewNop())
				began, w := time.Now(), httptest.NewRecorder()
				p.pass(w, httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", c.body()), &passMark{outcome: bypassed, started: began})
				if took := time.Since(began); w.Code != c.status || w.Body.String() != c.want || took != c.took {
					t.Errorf("%d %q after %v, want %d %q after %v", w.Code, w.Body, took, c.status, c.want, c.took)
				}
			})
		})
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
