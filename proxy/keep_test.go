package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"warmfront/config"
)

// move gives the server's data another day, and its benchmark tables that of tables, as by a restart after
// that, and waits for the proxy to have seen it and to hold it for settled.
func move(t *testing.T, p *Proxy, s *fakeServer, day, tables string) {
	t.Helper()
	for _, change := range []func(){func() { s.last = day }, func() { s.tables = tables }, func() {}, func() {}} {
		s.mu.Lock()
		change()
		s.mu.Unlock()
		if err := p.data.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// settlesAtOnce makes a sync count as over as soon as it gives no sign.
func settlesAtOnce(cfg *config.Config) { cfg.SyncSettle = 0 }

// sentForced tells of each run that reached the server whether it was to be computed afresh.
func (s *fakeServer) sentForced() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	forced := make([]bool, len(s.bodies))
	for i := range s.bodies {
		forced[i] = strings.Contains(s.bodies[i], `"forceRefresh":true`)
	}
	return forced
}

func ask1(p *Proxy, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestFirstFillOfEachVariantAfterTheDataMovedIsComputedAfresh(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(cfg *config.Config) { settlesAtOnce(cfg); cfg.CacheTTL = time.Nanosecond })
	for range 2 {
		expect(t, run(p, `{}`, nil), "MISS")
	}
	move(t, p, s, "2026-01-15", "2026-01-15")
	for range 2 {
		expect(t, run(p, `{}`, nil), "MISS")
		expect(t, run(p, `{"mode":"OO"}`, nil), "MISS")
	}
	want := []bool{false, false, true, true, false, false} // the generation found at the start is not one that began
	if got := s.sentForced(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent to be computed afresh: %v, want %v\n%q", got, want, s.bodies)
	}
}

func TestServersOwnRowIsKeptForMinutesAndTheNextFillComputedAfresh(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Replace(string(backtestAnswer("2026-01-14", 1)), `"cached":false`, `"cached":true,"cachedAt":1`, 1)))
	}
	w := run(p, `{}`, nil)
	expect(t, w, "MISS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "provisional-server-cached") {
		t.Errorf("Cache-Status %q of an answer from the server's own cache", got)
	}
	expect(t, run(p, `{}`, http.Header{"X-Cache-Bypass": {"refresh"}}), "REFRESH")
	// The row is from before the proxy looked, so it is computed at once; this server answers from it all the same.
	if got := s.sentForced(); fmt.Sprint(got) != "[false true true]" {
		t.Errorf("sent to be computed afresh: %v", got)
	}
}

func report(cachedAt time.Time) string {
	cached := `false`
	if !cachedAt.IsZero() {
		cached = fmt.Sprintf(`true,"cachedAt":%d`, cachedAt.UnixMilli())
	}
	return `{"success":true,"cached":` + cached + `,"report":{"meta":{"years":5,"blockSize":7,"shards":10,"seed":42}}}`
}

func TestReportsAndCorrelationsMadeOfOlderRowsAreNotKept(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(cfg *config.Config) { settlesAtOnce(cfg); cfg.RevisionInterval = 0 })
	const sanity, correlation = "/api/bots/bot-1/sanity-report", "/api/correlation/optimize"
	both := `{"botIds":["bot-1","bot-2"]}`
	answers := map[string]string{correlation: `{"validBotIds":["bot-1","bot-2"],"weights":[1,0],"correlationMatrix":[[1,0],[0,1]],"portfolioMetrics":{}}`}
	s.report = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answers[r.URL.Path]) }
	is := func(path, body, xCache, detail string) {
		t.Helper()
		w := ask1(p, path, body)
		expect(t, w, xCache)
		if got := w.Header().Get("Cache-Status"); !strings.Contains(got, detail) {
			t.Errorf("%s: Cache-Status %q, want %s", path, got, detail)
		}
	}
	before := time.Now()
	answers[sanity] = report(before)
	is(sanity, `{}`, "MISS", "provisional-server-cached")
	is(correlation, both, "MISS", "provisional-bars-unproven") // its rows may be from the middle of a sync that is over
	runBoth := func() {
		t.Helper()
		for _, bot := range []string{"bot-1", "bot-2"} {
			expect(t, ask1(p, "/api/bots/"+bot+"/run-backtest", `{}`), "MISS")
		}
	}
	runBoth()
	is(correlation, both, "MISS", "detail=upstream")

	move(t, p, s, "2026-01-15", "2026-01-15")
	is(sanity, `{}`, "PASS", "rows-older")
	is(correlation, both, "PASS", "rows-older")
	answers[sanity] = report(time.Time{})
	is(sanity, `{}`, "MISS", "provisional-bars-unproven")

	runBoth()
	is(correlation, both, "MISS", "detail=upstream")
	is(sanity, `{"seed":42,"years":5}`, "HIT", "provisional") // what is kept for minutes stays for minutes

	// Bars that end before the data does prove nothing.
	move(t, p, s, "2026-01-16", "2026-01-16")
	s.backtest = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(backtestAnswer("2026-01-15", 1)) }
	runBoth()
	is(correlation, both, "MISS", "provisional-bars-unproven")
}

// The server has read the rows that it answers from when another request has it make new ones.
func TestRowsThatWereMadeWhileACorrelationWasUnderWayProveNothingOfIt(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(cfg *config.Config) { settlesAtOnce(cfg); cfg.RevisionInterval = 0; cfg.MetricsWriteback = false })
	move(t, p, s, "2026-01-15", "2026-01-15")
	begun, goOn := make(chan struct{}), make(chan struct{})
	s.report = func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Unlock()
		begun <- struct{}{}
		<-goOn
		s.mu.Lock()
		fmt.Fprint(w, `{"validBotIds":["bot-1","bot-2"],"weights":[1,0],"correlationMatrix":[[1,0],[0,1]],"portfolioMetrics":{}}`)
	}
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		s.computed.Add(-1) // the metrics that it saves stay the same, or they would tell
		_, _ = w.Write(backtestAnswer("2026-01-15", 1))
	}
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- ask1(p, "/api/correlation/optimize", `{"botIds":["bot-1","bot-2"]}`) }()
	<-begun
	for _, bot := range []string{"bot-1", "bot-2"} {
		expect(t, ask1(p, "/api/bots/"+bot+"/run-backtest", `{}`), "MISS")
	}
	close(goOn)
	w := <-answered
	expect(t, w, "PASS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "rows-older") {
		t.Errorf("Cache-Status %q, want rows-older", got)
	}
}

// A correlation that was under way when the data moved leaves rows of before behind, over those that were made since.
func TestRowsThatAnOutdatedCorrelationLeavesBehindAreNotTakenForNew(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(cfg *config.Config) { settlesAtOnce(cfg); cfg.RevisionInterval = 0; cfg.MetricsWriteback = false })
	begun, goOn := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	s.report = func(w http.ResponseWriter, _ *http.Request) {
		if held.CompareAndSwap(false, true) {
			s.mu.Unlock()
			begun <- struct{}{}
			<-goOn
			s.mu.Lock()
		}
		fmt.Fprint(w, `{"validBotIds":["bot-1","bot-2"],"weights":[1,0],"correlationMatrix":[[1,0],[0,1]],"portfolioMetrics":{}}`)
	}
	correlate := func() *httptest.ResponseRecorder {
		return ask1(p, "/api/correlation/optimize", `{"botIds":["bot-1","bot-2"]}`)
	}
	outdated := make(chan *httptest.ResponseRecorder, 1)
	go func() { outdated <- correlate() }()
	<-begun
	move(t, p, s, "2026-01-15", "2026-01-15")
	for _, bot := range []string{"bot-1", "bot-2"} {
		expect(t, ask1(p, "/api/bots/"+bot+"/run-backtest", `{}`), "MISS")
	}
	close(goOn)
	expect(t, <-outdated, "PASS")
	w := correlate()
	expect(t, w, "PASS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "rows-older") {
		t.Errorf("Cache-Status %q, want rows-older", got)
	}
}

func TestWhatComesFromTablesOfBeforeTheDataMovedIsKeptForMinutes(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, settlesAtOnce)
	s.report = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, report(time.Time{})) }
	detail := func(day, tables, run string) string {
		move(t, p, s, day, tables)
		expect(t, ask1(p, "/api/bots/bot-1/run-backtest", `{}`), run)
		return ask1(p, "/api/bots/bot-1/sanity-report", `{}`).Header().Get("Cache-Status")
	}
	if got := detail("2026-01-15", "2026-01-14", "MISS"); !strings.Contains(got, "provisional-tables-stale") {
		t.Errorf("Cache-Status %q with tables that did not move with the candles", got)
	}
	// The server was restarted: that is no sync, and the run that was proven stays so.
	if got := detail("2026-01-15", "2026-01-15", "HIT"); strings.Contains(got, "provisional") || strings.Contains(got, "hit") {
		t.Errorf("Cache-Status %q with tables that were loaded since", got)
	}
}

func TestReportThatDoesNotNameItsOptionsIsNotKept(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.report = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, report(time.Time{})) }
	expect(t, ask1(p, "/api/bots/bot-1/sanity-report", `{"years":10}`), "PASS")
	expect(t, ask1(p, "/api/bots/bot-1/sanity-report", `{}`), "MISS")
}

// The server let the caller in before it refused: its answer is no grant for afterwards.
func TestAnswerThatWasUnderWayWhenTheServerRefusedGrantsNothing(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(cfg *config.Config) { cfg.Access = config.AccessGranted })
	caller := http.Header{"Authorization": {"Bearer a"}}
	begun, goOn := make(chan struct{}), make(chan struct{})
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-goOn
		_, _ = w.Write(backtestAnswer("2026-01-14", 1))
	}
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- run(p, `{}`, caller) }()
	<-begun
	s.mu.Lock()
	s.status = http.StatusForbidden
	s.mu.Unlock()
	r := httptest.NewRequest("GET", "/api/bots/bot-1", nil)
	r.Header = caller.Clone()
	w := httptest.NewRecorder()
	if p.ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Fatalf("status %d, want 403", w.Code)
	}
	s.mu.Lock()
	s.status = 0
	s.mu.Unlock()
	close(goOn)
	expect(t, <-answered, "MISS")
	s.backtest = nil
	again := run(p, `{}`, caller)
	expect(t, again, "MISS")
	expect(t, run(p, `{}`, caller), "HIT")
}

func TestGrantsEndByThemselves(t *testing.T) {
	p := startProxy(t, &fakeServer{}, func(cfg *config.Config) { cfg.Access = config.AccessGranted })
	header := http.Header{"Authorization": {"Bearer a"}}
	expect(t, run(p, `{}`, header), "MISS")
	expect(t, run(p, `{}`, header), "HIT")
	expect(t, run(p, `{}`, http.Header{"Authorization": {"Bearer b"}}), "MISS")
	p.grants.mu.Lock()
	for name := range p.grants.until {
		if left := time.Until(p.grants.until[name]); left > grantTTL {
			t.Errorf("a grant lasts for %v", left)
		}
		p.grants.until[name] = time.Now()
	}
	p.grants.mu.Unlock()
	expect(t, run(p, `{}`, header), "MISS")
}
