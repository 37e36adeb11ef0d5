package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"warmfront/config"
	"warmfront/keying"
	"warmfront/proxy/store"
)

// auditing audits every hit. Whoever polls the data date is the test.
func auditing(c *config.Config) { c.AuditRate, c.DataDateInterval = 1, time.Millisecond }

// until asks again and again for what must come true soon.
func until(t *testing.T, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// rested waits until no audit is under way.
func rested(t *testing.T, p *Proxy) {
	t.Helper()
	until(t, func() error {
		p.audit.mu.Lock()
		defer p.audit.mu.Unlock()
		if p.audit.busy {
			return errors.New("an audit is still under way")
		}
		return nil
	})
}

// answering makes s answer runs with these bodies in turn, the last one for ever.
func answering(s *fakeServer, bodies ...string) {
	n := -1
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		n = min(n+1, len(bodies)-1)
		body := bodies[n]
		s.mu.Unlock()
		if body == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(body))
	}
}

func TestAuditIsARunOfItsOwnWithoutCredentials(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing)
	seen := make(chan http.Header, 2)
	s.backtest = func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		_, _ = w.Write(backtestAnswer("2026-01-14", 3))
	}
	mine := http.Header{"Authorization": {"Bearer mine"}, "Cookie": {"a=b"}, "X-Forwarded-For": {"1.2.3.4"}}
	expect(t, run(p, `{"mode":"OO"}`, mine), "MISS")
	expect(t, run(p, `{"mode":"OO"}`, mine), "HIT")
	rested(t, p)
	<-seen
	header := <-seen
	for name := range mine {
		if got := header.Get(name); got == mine.Get(name) {
			t.Errorf("%s %q is the user's", name, got)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.bodies[1]; !strings.Contains(got, `"forceRefresh":true`) || !strings.Contains(got, `"mode":"OO"`) {
		t.Errorf("the audit asked for %s", got)
	}
	if n := testutil.ToFloat64(p.audit.done.WithLabelValues(runBacktest)); n != 1 {
		t.Errorf("%v audits", n)
	}
}

func TestAuditDropsWhatDiffers(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing)
	dropped := make(chan string, 1)
	p.audit.onDrop = func(key string) { dropped <- key }
	right := string(backtestAnswer("2026-01-14", 3))
	answering(s, strings.Replace(right, `0.1`, `0.2`, 1), right)
	expect(t, run(p, `{}`, nil), "MISS")
	w := run(p, `{}`, http.Header{"X-Cache-Debug": {"1"}})
	expect(t, w, "HIT")
	rested(t, p)
	if key := <-dropped; key != w.Header().Get("X-Cache-Key") {
		t.Errorf("dropped %s", key)
	}
	got := p.audit.state()
	if got.Mismatches != 1 || got.LastMismatch.Path != "metrics.cagr" || got.LastMismatch.Route != runBacktest {
		t.Errorf("%+v %+v", got, got.LastMismatch)
	}
	w = run(p, `{}`, nil)
	expect(t, w, "MISS")
	if w.Body.String() != right {
		t.Errorf("served %s", w.Body)
	}
	// Both requests were spelled alike: ids are not to blame.
	for route, exact := range p.audit.exact {
		if exact.Load() {
			t.Errorf("%s is keyed by exact ids", route.Name)
		}
	}
}

func TestADifferenceThatNewDataExplainsIsNoMismatch(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing)
	right := string(backtestAnswer("2026-01-14", 3))
	answering(s, strings.Replace(right, `0.1`, `0.2`, 1), right)
	p.audit.onDrop = func(string) {
		s.mu.Lock()
		s.text += "'"
		s.mu.Unlock()
		if err := p.data.Poll(context.Background()); err != nil {
			t.Error(err)
		}
	}
	expect(t, run(p, `{}`, nil), "MISS")
	expect(t, run(p, `{}`, nil), "HIT")
	rested(t, p)
	if n := testutil.ToFloat64(p.audit.discarded.WithLabelValues("data-changed")); n != 1 || p.audit.state().Mismatches != 0 {
		t.Errorf("%v discarded, %+v", n, p.audit.state())
	}
}

func TestAnEntryOfUnknownSpellingCountsAsSpelledDifferently(t *testing.T) {
	p := startProxy(t, &fakeServer{}, nil)
	for _, route := range keying.Routes() {
		if route.Name != "backtest" {
			continue
		}
		q, err := route.Parse("", "", []byte(`{"payload":{"id":"a"}}`), keying.ByOrder)
		if err != nil {
			t.Fatal(err)
		}
		a := &ask{route: route, request: q}
		for spelling, want := range map[string]bool{"": true, "other": true, q.Spelling(nil): false} {
			if got := p.audit.spelledDifferently(t.Context(), a, &store.Entry{Spelling: spelling}); got != want {
				t.Errorf("spelling %q: differently %v, want %v", spelling, got, want)
			}
		}
	}
}

func TestAnAuditThatFailsProvesNothing(t *testing.T) {
	good := string(backtestAnswer("2026-01-14", 3))
	for name, second := range map[string]string{
		"500": "", "no success": `{"success":false}`, "not JSON": `<html>`, "older than the data": string(backtestAnswer("2026-01-13", 3)),
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeServer{}
			p := startProxy(t, s, auditing)
			answering(s, good, second)
			expect(t, run(p, `{}`, nil), "MISS")
			expect(t, run(p, `{}`, nil), "HIT")
			rested(t, p)
			if n := testutil.CollectAndCount(p.audit.discarded); n != 1 || p.audit.state().Mismatches != 0 {
				t.Errorf("%d reasons to discard, %d mismatches", n, p.audit.state().Mismatches)
			}
			p.cfg.AuditRate = 0
			expect(t, run(p, `{}`, nil), "HIT")
		})
	}
}

func TestNothingIsAuditedWhileUsersWaitForTheServerOrAnAuditIsUnderWay(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing)
	expect(t, run(p, `{}`, nil), "MISS")
	held, arrived := make(chan struct{}), make(chan struct{}, 9)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-held
		_, _ = w.Write(backtestAnswer("2026-01-14", 10))
	}
	waiting := make(chan struct{})
	go func() { defer close(waiting); run(p, `{"mode":"OO"}`, http.Header{"X-Cache-Bypass": {"1"}}) }()
	<-arrived
	for range 5 {
		expect(t, run(p, `{}`, nil), "HIT")
	}
	if n := s.computed.Load(); n != 2 {
		t.Errorf("%d runs while a user waits for one of them, want 2", n)
	}
	held <- struct{}{}
	<-waiting
	for range 5 {
		expect(t, run(p, `{}`, nil), "HIT") // the first is audited
	}
	<-arrived
	if n := s.computed.Load(); n != 3 {
		t.Errorf("%d runs, want 3: one audit at a time", n)
	}
	close(held)
	rested(t, p)
}

func TestAProvisionalAnswerIsNotAudited(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing)
	answering(s, string(backtestAnswer("2026-01-13", 3)))
	expect(t, run(p, `{}`, nil), "MISS")
	expect(t, run(p, `{}`, nil), "HIT")
	rested(t, p)
	if n := s.computed.Load(); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
}

func TestClosingEndsTheAuditUnderWay(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, auditing) // closes it, and goleak looks
	expect(t, run(p, `{}`, nil), "MISS")
	arrived := make(chan struct{})
	s.backtest = func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() }
	expect(t, run(p, `{}`, nil), "HIT")
	<-arrived
}

func TestACondemnedEntryIsNotBelievedFromAnyTier(t *testing.T) {
	p := startProxy(t, &fakeServer{}, nil)
	entry := func(key, digest string) *store.Entry {
		return (&store.Entry{Key: key, Status: 200, Digest: digest, StoredAt: time.Now(), Fresh: time.Hour, Header: http.Header{}}).Prepare()
	}
	wrong := entry("k", "d")
	if !p.audit.believes(wrong) {
		t.Error("not believed without a reason")
	}
	p.audit.drop(wrong)
	value, err := store.Encode(wrong)
	if err != nil {
		t.Fatal(err)
	}
	again, err := store.Decode("k", value)
	if err != nil {
		t.Fatal(err)
	}
	for what, e := range map[string]*store.Entry{"in memory": wrong, "from Redis": again} {
		if p.audit.believes(e) {
			t.Errorf("believed %s", what)
		}
	}
	later := entry("k", "d")
	later.StoredAt = later.StoredAt.Add(time.Second)
	if !p.audit.believes(later) || !p.audit.believes(entry("k", "other")) || !p.audit.believes(entry("other", "d")) {
		t.Error("another entry is not believed")
	}
	full := map[string]condemnation{}
	for i := range maxCondemned {
		full[fmt.Sprint(i)] = condemnation{until: time.Now().Add(time.Hour)}
	}
	p.audit.condemned.Store(&full)
	p.audit.condemn(wrong)
	if n := len(*p.audit.condemned.Load()); n != maxCondemned || p.audit.believes(wrong) {
		t.Errorf("%d are remembered", n)
	}
}

func TestReadyzTellsTheLastMismatch(t *testing.T) {
	p := startProxy(t, &fakeServer{}, nil)
	ready := func() string {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", "/_warmfront/readyz", nil))
		return w.Body.String()
	}
	if got := ready(); !strings.Contains(got, `"audit":{"mismatches":0,"lastMismatch":null}`) {
		t.Error(got)
	}
	p.audit.report = auditReport{1, &mismatch{Key: "k", Route: "r", Path: "a.b", At: time.Unix(0, 0).UTC()}}
	if got := ready(); !strings.Contains(got, `"lastMismatch":{"key":"k","route":"r","path":"a.b","at":"1970-01-01T00:00:00Z"}`) {
		t.Error(got)
	}
}
