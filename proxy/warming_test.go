package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"warmfront/test/harness"
)

// told collects what the hook hears.
type told struct {
	mu   sync.Mutex
	list []Answered
}

func (t *told) add(a Answered) { t.mu.Lock(); defer t.mu.Unlock(); t.list = append(t.list, a) }

func runRequest(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api/bots/bot-1/run-backtest", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func serveTo(p *Proxy, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestTheHookHearsOfAnswersThatAreKeptAndOfNothingElse(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	var heard told
	p.OnAnswered(heard.add)
	serveTo(p, runRequest(`{}`)) // a miss
	serveTo(p, runRequest(`{}`)) // a hit
	again := runRequest(`{}`)
	again.Header.Set("If-None-Match", "*")
	if w := serveTo(p, again); w.Code != http.StatusNotModified {
		t.Fatalf("status %d, expected 304", w.Code)
	}
	serveTo(p, runRequest(`{"forceRefresh":true}`))
	bypassed := runRequest(`{}`)
	bypassed.Header.Set("X-Cache-Bypass", "1")
	serveTo(p, bypassed)
	serveTo(p, runRequest(`malformed`))
	serveTo(p, httptest.NewRequest(http.MethodGet, "/api/status", nil))
	s.mu.Lock()
	s.backtest = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	s.mu.Unlock()
	serveTo(p, runRequest(`{"mode":"OO"}`))
	if len(heard.list) != 4 {
		t.Fatalf("heard of %d, expected the miss, both hits and the refresh: %+v", len(heard.list), heard.list)
	}
	for i, a := range heard.list {
		if a.Target != "/api/bots/bot-1/run-backtest" || a.Method != "POST" || (a.Upstream > 0) != (i == 0 || i == 3) || a.Request.Bot != "bot-1" {
			t.Errorf("%d: %+v", i, a)
		}
	}
}

func TestTheLoopsOwnRequestsFillTheSameEntryAndAreNotCountedAsUsers(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	var heard told
	p.OnAnswered(heard.add)
	own := runRequest(`{"mode":"CC","costBps":5}`)
	if w := serveTo(p, own.WithContext(ForWarming(own.Context()))); w.Header().Get("X-Cache") != "MISS" {
		t.Fatalf("%v", w.Header())
	}
	if len(heard.list) != 0 {
		t.Fatal("the loop's own request was noted")
	}
	if w := serveTo(p, runRequest(`{}`)); w.Header().Get("X-Cache") != "HIT" {
		t.Fatalf("a user finds nothing warm: %v", w.Header())
	}
	metrics := serveTo(p, httptest.NewRequest(http.MethodGet, "/_warmfront/metrics", nil)).Body.String()
	for line, want := range map[string]int{`outcome="MISS",route="run-backtest",tier="upstream"`: 0, `outcome="HIT",route="run-backtest",tier="memory"`: 1} {
		if !strings.Contains(metrics, fmt.Sprintf("warmfront_requests_total{%s} %d\n", line, want)) {
			t.Errorf("expected %d for %s in\n%s", want, line, metrics)
		}
	}
}

func TestUsersThatWaitForTheServerAreCountedAndTheLoopIsNot(t *testing.T) {
	s := &fakeServer{}
	release := make(chan struct{})
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write(backtestAnswer("2026-01-14", 3))
	}
	p := startProxy(t, s, nil)
	var all sync.WaitGroup
	own := runRequest(`{"mode":"OO"}`)
	all.Go(func() { serveTo(p, own.WithContext(ForWarming(own.Context()))) })
	for _, body := range []string{`{}`, `{}`, `{"mode":"OO"}`, `{"forceRefresh":true}`} { // the third joins the loop's
		all.Go(func() { serveTo(p, runRequest(body)) })
	}
	waiting := harness.Until(10*time.Second, func() error {
		if p.UsersWaiting() != 4 {
			return errors.New("not all wait yet")
		}
		return nil
	})
	close(release)
	all.Wait()
	if waiting != nil || p.UsersWaiting() != 0 {
		t.Fatalf("%v; %d wait after all was answered", waiting, p.UsersWaiting())
	}
}
