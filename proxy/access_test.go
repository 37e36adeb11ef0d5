package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// guardedServer is a fakeServer behind a guard, which answers for it or gives false.
type guardedServer struct {
	*fakeServer
	mu    sync.Mutex
	guard func(w http.ResponseWriter, r *http.Request) bool
}

func (g *guardedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	guard := g.guard
	g.mu.Unlock()
	if !guard(w, r) {
		g.fakeServer.ServeHTTP(w, r)
	}
}

func (g *guardedServer) becomes(guard func(http.ResponseWriter, *http.Request) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.guard = guard
}

func says(w http.ResponseWriter, status int) bool {
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"no"}`))
	return true
}

func open(http.ResponseWriter, *http.Request) bool { return false }

// asking sends a run-backtest of bot-1 with one field and gives status and X-Cache.
func asking(p *Proxy, field string) string {
	h := http.Header{}
	if name, value, ok := strings.Cut(field, ": "); ok {
		h.Set(name, value)
	}
	w := run(p, `{}`, h)
	return http.StatusText(w.Code) + " " + w.Header().Get("X-Cache")
}

// step is a request with a field, and what its answer must be.
type step struct{ field, want string }

func play(t *testing.T, p *Proxy, steps []step) {
	t.Helper()
	for i, s := range steps {
		if got := asking(p, s.field); got != s.want {
			t.Errorf("request %d, with %q: %s, want %s", i+1, s.field, got, s.want)
		}
	}
}

const owner, other = "Authorization: Bearer a", "Authorization: Bearer b"

// Each of these servers looks public to whoever asks it for a bot that can't exist.
func TestProtectedServerIsNotTakenForPublic(t *testing.T) {
	has := func(r *http.Request, field string) bool {
		name, value, _ := strings.Cut(field, ": ")
		return r.Header.Get(name) == value
	}
	isBots := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/bots/bot-1") }
	const key = "X-API-Key: k"
	for name, c := range map[string]struct {
		guard func(http.ResponseWriter, *http.Request) bool
		steps []step
	}{
		"a run is protected, an unknown bot is 404": {func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/run-backtest") && !has(r, owner) && says(w, 401)
		}, []step{{owner, "OK MISS"}, {owner, "OK HIT"}, {other, "Unauthorized PASS"}, {"", "Unauthorized PASS"}, {owner, "OK HIT"}}},
		"a malformed id is answered 400 before anybody looks": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/api/bots/warmfront") {
				return says(w, 400)
			}
			return isBots(r) && !has(r, owner) && says(w, 403)
		}, []step{{owner, "OK MISS"}, {"", "Forbidden PASS"}, {other, "Forbidden PASS"}, {owner, "OK HIT"}}},
		"bots are hidden by 404": {func(w http.ResponseWriter, r *http.Request) bool {
			return isBots(r) && !has(r, owner) && says(w, 404)
		}, []step{{owner, "OK MISS"}, {other, "Not Found PASS"}, {"", "Not Found PASS"}, {owner, "OK HIT"}}},
		"who asks is told by X-API-Key": {func(w http.ResponseWriter, r *http.Request) bool {
			return isBots(r) && !has(r, key) && says(w, 401)
		}, []step{{key, "OK MISS"}, {key, "OK HIT"}, {"X-API-Key: x", "Unauthorized PASS"}, {"", "Unauthorized PASS"}, {key, "OK HIT"}}},
		"callers are known by address": {func(w http.ResponseWriter, r *http.Request) bool {
			from := r.Header.Get("X-Forwarded-For")
			return from != "" && from != "10.0.0.1" && says(w, 403)
		}, []step{
			{"X-Forwarded-For: 10.0.0.1", "OK MISS"}, {"X-Forwarded-For: 10.0.0.2", "Forbidden PASS"}, {"X-Forwarded-For: 10.0.0.1", "OK MISS"},
			{"X-Forwarded-For: 10.0.0.2", "Forbidden PASS"},
		}},
		"an address is told 403": {func(w http.ResponseWriter, r *http.Request) bool {
			return isBots(r) && has(r, "X-Forwarded-For: 10.0.0.2") && says(w, 403)
		}, []step{
			{"X-Forwarded-For: 10.0.0.2", "Forbidden PASS"}, {"X-Forwarded-For: 10.0.0.1", "OK MISS"}, {"X-Forwarded-For: 10.0.0.1", "OK MISS"},
			{"X-Forwarded-For: 10.0.0.2", "Forbidden PASS"},
		}},
		"an account is suspended": {func(w http.ResponseWriter, r *http.Request) bool {
			return isBots(r) && has(r, other) && says(w, 403)
		}, []step{{other, "Forbidden PASS"}, {"", "OK MISS"}, {"", "OK HIT"}, {other, "Forbidden PASS"}, {"", "OK MISS"}, {owner, "OK MISS"}, {owner, "OK HIT"}}},
		"nobody is refused":                           {open, []step{{"", "OK MISS"}, {"", "OK HIT"}, {owner, "OK HIT"}, {"Cookie: a=b", "OK HIT"}}},
		"nobody is refused, and all have credentials": {open, []step{{owner, "OK MISS"}, {owner, "OK HIT"}, {other, "OK MISS"}, {other, "OK HIT"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &guardedServer{fakeServer: &fakeServer{}, guard: c.guard}
			play(t, startProxyAt(t, s.fakeServer, s, nil), c.steps)
		})
	}
}

func TestServerThatBecomesProtectedIsNoLongerAnsweredFor(t *testing.T) {
	s := &guardedServer{fakeServer: &fakeServer{}, guard: open}
	p := startProxyAt(t, s.fakeServer, s, nil)
	play(t, p, []step{{"", "OK MISS"}, {"", "OK HIT"}, {owner, "OK HIT"}})
	s.becomes(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/run-backtest") && r.Header.Get("Authorization") == "" && says(w, 401)
	})
	// One refusal, of whatever is not stored, is enough.
	if w := run(p, `{"mode":"OO"}`, nil); w.Code != http.StatusUnauthorized {
		t.Fatalf("status %d, want the server's 401", w.Code)
	}
	play(t, p, []step{{"", "Unauthorized PASS"}, {"", "Unauthorized PASS"}, {owner, "OK MISS"}, {owner, "OK HIT"}})
	s.becomes(open)
	play(t, p, []step{{"", "OK MISS"}, {"", "OK HIT"}, {other, "OK HIT"}})
}

func TestTwoWithoutCredentialsShareACallUntilOneIsRefused(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	goOn := make(chan struct{})
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		<-goOn
		_, _ = w.Write(backtestAnswer("2026-01-14", 1))
	}
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			if w := run(p, `{}`, nil); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
		})
		soon(t, "the request waits", func() bool { return p.UsersWaiting() == i+1 })
	}
	close(goOn)
	all.Wait()
	if n := s.computed.Load(); n != 1 {
		t.Errorf("%d computations for five at once, want 1", n)
	}
}

func TestAnswerToACredentialInTheQueryIsItsCallersAlone(t *testing.T) {
	s := &guardedServer{fakeServer: &fakeServer{}, guard: func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path == "/api/candles/QQQ" && r.URL.Query().Get("api_key") == "" && says(w, 401)
	}}
	s.text = "x"
	p := startProxyAt(t, s.fakeServer, s, nil)
	for i, status := range []int{401, 200, 401} {
		target := "/api/candles/QQQ?limit=60"
		if status == 200 {
			target += "&api_key=k"
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.Code != status {
			t.Errorf("request %d, %s: status %d, want %d", i+1, target, w.Code, status)
		}
	}
}
