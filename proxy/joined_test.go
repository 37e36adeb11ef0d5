package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A call that was under way while a bot was edited and edited back may have seen the edit. Its key is that
// of who asks afterwards, who must not be given what it brings.
func TestCallFromBeforeAnEditServesNobodyWhoComesAfterIt(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	old := s.payload
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		first := s.computed.Load() == 1
		begun <- struct{}{}
		if first {
			<-goOn
			_, _ = w.Write(backtestAnswer("2026-01-14", 1)) // of the edit
			return
		}
		_, _ = w.Write(backtestAnswer("2026-01-14", 2))
	}
	before := make(chan *httptest.ResponseRecorder, 1)
	go func() { before <- run(p, `{}`, nil) }()
	<-begun
	for _, payload := range []string{`{"id":"n","kind":"call"}`, old} {
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/api/bots/bot-1", strings.NewReader(payload)))
	}
	after := make(chan *httptest.ResponseRecorder, 1)
	go func() { after <- run(p, `{}`, nil) }()
	select {
	case w := <-after:
		if n := strings.Count(w.Body.String(), `"equity":`); n != 2 {
			t.Errorf("an answer with %d rows, want the one that began after the edits", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("who came after the edits waits for the call from before them")
	}
	close(goOn)
	<-before
}

// Also where an answer is not kept, and so is just what the server gave to whoever asked first (contract, trap 10).
func TestAnswerToAnotherOriginIsSharedWithoutItsCORSHeaders(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	goOn := make(chan struct{})
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		<-goOn
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"error":"no"}`))
	}
	var asking sync.WaitGroup
	for i, origin := range []string{"http://a", "http://b", ""} {
		asking.Go(func() {
			header := http.Header{}
			if origin != "" {
				header.Set("Origin", origin)
			}
			w := run(p, `{}`, header)
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != origin || w.Code != 500 {
				t.Errorf("status %d for origin %q, with the headers of %q: %v", w.Code, origin, got, w.Header())
			}
		})
		soon(t, "the request waits", func() bool { return p.UsersWaiting() == i+1 })
	}
	close(goOn)
	asking.Wait()
	if n := s.computed.Load(); n != 1 {
		t.Errorf("the server was asked %d times; this is about one call", n)
	}
}

// Two clicks of one meaning, of which the first carries a field that the server won't have: that is not the other's affair.
func TestRefusalOfOneRequestsFieldsIsNotSharedWithWhoWaitedForIt(t *testing.T) {
	for _, status := range []int{401, 403, 407, 413, 429, 431} {
		s := &fakeServer{}
		p := startProxy(t, s, nil)
		goOn := make(chan struct{})
		s.backtest = func(w http.ResponseWriter, r *http.Request) {
			if s.computed.Load() == 1 {
				<-goOn
				w.WriteHeader(status)
				_, _ = w.Write([]byte(`{"error":"no"}`))
				return
			}
			_, _ = w.Write(backtestAnswer("2026-01-14", 1))
		}
		var asking sync.WaitGroup
		for i, want := range []int{status, 200} {
			asking.Go(func() {
				if w := run(p, `{}`, nil); w.Code != want {
					t.Errorf("request %d: status %d, want %d: %s", i+1, w.Code, want, w.Body)
				}
			})
			soon(t, "the request waits", func() bool { return p.UsersWaiting() == i+1 })
		}
		close(goOn)
		asking.Wait()
	}
}
