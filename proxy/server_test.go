package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"warmfront/config"
)

// fakeServer answers what a Proxy asks, in the server's shapes. The real stand-in is used end to
// end; here the tests need to hold its answers in their hands.
type fakeServer struct {
	mu       sync.Mutex
	payload  string // of every bot
	last     string // the canaries' newest candle, YYYY-MM-DD
	text     string // the server's own data date
	tables   string // the newest day of its benchmark tables
	older    string // a ticker whose table lacks it
	backtest http.HandlerFunc
	report   http.HandlerFunc // of sanity reports and correlations
	computed atomic.Int32
	bodies   []string // of run-backtests, as they arrived
	status   int      // of GET /api/bots/:id
	refuses  int      // status of what is not known here; 0: 404
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	w.Header().Set("Vary", "Origin")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/candles/"):
		_, _ = w.Write(candlesUpTo(s.last))
	case path == "/api/benchmarks/metrics":
		fmt.Fprint(w, s.benchmarks(r.URL.Query()))
	case path == "/api/backtest":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"error":"Not enough overlapping price data"}`)
	case path == "/api/status":
		fmt.Fprint(w, `{}`)
	case strings.HasSuffix(path, "/run-backtest"):
		body, _ := io.ReadAll(r.Body)
		s.bodies = append(s.bodies, string(body))
		s.computed.Add(1)
		if s.backtest != nil {
			s.mu.Unlock()
			s.backtest(w, r)
			s.mu.Lock()
			return
		}
		_, _ = w.Write(backtestAnswer(s.last, 10))
	case s.report != nil && (strings.HasSuffix(path, "/sanity-report") || strings.HasPrefix(path, "/api/correlation/")):
		s.report(w, r)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		s.payload = string(body)
		fmt.Fprint(w, `{"success":true}`)
	case strings.HasPrefix(path, "/api/bots/warmfront-probe"):
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(path, "/api/bots/"):
		w.WriteHeader(max(s.status, http.StatusOK))
		b, _ := json.Marshal(map[string]any{"bot": map[string]any{"id": "bot-1", "ownerId": "u", "payload": s.payload, "updatedAt": "x",
			"metrics": map[string]any{"cagr": s.computed.Load()}}}) // every run saves other metrics (trap 7)
		_, _ = w.Write(b)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(cmp.Or(s.refuses, http.StatusNotFound))
	}
}

// benchmarks is what the server tells of its tables: of a range of a few days, how many it has of them. The
// table of the ticker older lacks the newest day, and the row of OLD, without a range, is not what its table says.
func (s *fakeServer) benchmarks(query url.Values) string {
	from := query.Get("startDate")
	var errors, found []string
	for _, ticker := range strings.Split(query.Get("tickers"), ",") {
		switch {
		case ticker == "":
		case from == "" || from < "2026-01-01":
			found = append(found, fmt.Sprintf(`%q:{"ranged":%v}`, ticker, ticker == "OLD" && from != ""))
		case ticker != s.older && from <= s.tables:
			errors = append(errors, fmt.Sprintf(`"%s: insufficient data (1 days)"`, ticker))
		default:
			errors = append(errors, fmt.Sprintf(`"%s: insufficient data (0 days)"`, ticker))
		}
	}
	list := ""
	if len(errors) > 0 {
		list = `,"errors":[` + strings.Join(errors, ",") + `]`
	}
	return fmt.Sprintf(`{"success":true,"dataDate":%q,"benchmarks":{%s}%s}`, s.text, strings.Join(found, ","), list)
}

// candlesUpTo are those of each day from one in January on: a later day only adds to them.
func candlesUpTo(last string) []byte {
	day, _ := time.Parse(time.DateOnly, last)
	var b bytes.Buffer
	b.WriteString(`{"ticker":"SPY","candles":[{"time":1,"close":1}`)
	for at := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC); !at.After(day); at = at.AddDate(0, 0, 1) {
		fmt.Fprintf(&b, `,{"time":%d,"close":1}`, at.Unix())
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func backtestAnswer(last string, rows int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"success":true,"cached":false,"metrics":{"cagr":0.1},"benchmarkCurve":[],"allocations":[],"equityCurve":[`)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"date":%q,"equity":%d.25}`, last, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// startProxy gives a Proxy in front of s that has seen its data, and knows it to be public.
func startProxy(t testing.TB, s *fakeServer, change func(*config.Config)) *Proxy {
	t.Helper()
	return startProxyAt(t, s, s, change)
}

// startProxyAt is startProxy with something between it and the server.
func startProxyAt(t testing.TB, s *fakeServer, front http.Handler, change func(*config.Config)) *Proxy {
	t.Helper()
	if s.last == "" {
		s.tables = "2026-01-14"
		s.last, s.text, s.payload = "2026-01-14", "Wed Jan 14 2026 00:00:00 GM", `{"id":"n1","kind":"basic"}`
	}
	server := httptest.NewServer(front)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{
		UpstreamURL: base, MemoryLimit: 64 << 20, MaxEntry: 16 << 20, MaxRequest: 1 << 20, CacheTTL: time.Hour, StaleTTL: time.Hour,
		DataDateInterval: time.Hour, DataDateTickers: []string{"SPY"}, SyncSettle: 20 * time.Minute, ProvisionalTTL: 30 * time.Second,
		RevisionInterval: time.Hour, UpstreamTimeout: 10 * time.Second, BypassHeader: "X-Cache-Bypass",
	}
	if change != nil {
		change(cfg)
	}
	p, err := New(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.data.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.access.Probe(context.Background())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return p
}

// run sends a run-backtest of bot-1 and gives the answer.
func run(p *Proxy, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// expect fails unless the answer has this X-Cache, with whatever else was sent and got.
func expect(t *testing.T, w *httptest.ResponseRecorder, xCache string) {
	t.Helper()
	if got := w.Header().Get("X-Cache"); got != xCache || w.Code != http.StatusOK {
		t.Fatalf("X-Cache %q with status %d, want %q with 200\nheader %v\nbody %.200s", got, w.Code, xCache, w.Header(), w.Body)
	}
}

func TestSecondRunIsAHitWithTheSameBytes(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	first := run(p, `{"mode":"CC"}`, nil)
	expect(t, first, "MISS")
	second := run(p, `{"costBps":5}`, nil)
	expect(t, second, "HIT")
	if !bytes.Equal(first.Body.Bytes(), second.Body.Bytes()) || s.computed.Load() != 1 {
		t.Errorf("%d computations; first %.100s second %.100s", s.computed.Load(), first.Body, second.Body)
	}
	if first.Header().Get("ETag") == "" || first.Header().Get("ETag") != second.Header().Get("ETag") {
		t.Errorf("ETag %q, then %q", first.Header().Get("ETag"), second.Header().Get("ETag"))
	}
}

func TestEditedBotIsNeverServedItsOldBacktest(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	expect(t, run(p, `{}`, nil), "MISS")
	put := httptest.NewRequest("PUT", "/API/bots/bot-1/", strings.NewReader(`{"id":"n1","kind":"position"}`))
	p.ServeHTTP(httptest.NewRecorder(), put)
	expect(t, run(p, `{}`, nil), "MISS")
	expect(t, run(p, `{}`, nil), "HIT")
}

func TestAnswerComputedAcrossAnEditIsNotStored(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	old := s.payload
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		for _, payload := range []string{`{"id":"n","kind":"call"}`, old} { // edited, and edited back
			put := httptest.NewRequest("PUT", "/api/bots/bot-1", strings.NewReader(payload))
			p.ServeHTTP(httptest.NewRecorder(), put)
		}
		_, _ = w.Write(backtestAnswer("2026-01-14", 1))
	}
	w := run(p, `{}`, nil)
	expect(t, w, "PASS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "revision-changed") {
		t.Errorf("Cache-Status %q does not say why it was not stored", got)
	}
	expect(t, run(p, `{}`, nil), "PASS")
}

func TestAnswerIsNotStoredWhenTheDataMovedMeanwhile(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		s.text += "'"
		s.mu.Unlock()
		_ = p.data.Poll(context.Background())
		_, _ = w.Write(backtestAnswer("2026-01-14", 1))
	}
	expect(t, run(p, `{}`, nil), "PASS")
}

func TestAnswerThatEndsBeforeTheDataIsKeptForMinutes(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	s.backtest = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(backtestAnswer("2026-01-13", 1)) }
	w := run(p, `{}`, nil)
	expect(t, w, "MISS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "provisional-behind-data") || !strings.Contains(got, "ttl=599") && !strings.Contains(got, "ttl=600") {
		t.Errorf("Cache-Status %q, want a provisional one of ten minutes", got)
	}
}

func TestNothingIsServedUnderOldDataOnceNewDataWasSeen(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	expect(t, run(p, `{}`, nil), "MISS")
	s.mu.Lock()
	s.last = "2026-01-15"
	s.mu.Unlock()
	if err := p.data.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	w := run(p, `{}`, nil)
	expect(t, w, "MISS")
	if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "provisional-settling") {
		t.Errorf("Cache-Status %q: right after a change the sync may go on", got)
	}
}

func TestAnotherBenchmarkIsForcedAndSoIsTheDefaultAfterIt(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	expect(t, run(p, `{}`, nil), "MISS")
	expect(t, run(p, `{"benchmarkTicker":"QQQ"}`, nil), "MISS")
	expect(t, run(p, `{"mode":"OO"}`, nil), "MISS")
	for i, forced := range []bool{false, true, true} {
		if got := strings.Contains(s.bodies[i], `"forceRefresh":true`); got != forced {
			t.Errorf("request %d to the server: %s; forced %v, want %v", i+1, s.bodies[i], got, forced)
		}
	}
}

func TestUnknownRevisionOrDataPassesUncached(t *testing.T) {
	s := &fakeServer{status: http.StatusNotFound}
	p := startProxy(t, s, nil)
	for range 2 {
		w := run(p, `{}`, nil)
		expect(t, w, "PASS")
		if got := w.Header().Get("Cache-Status"); !strings.Contains(got, "no-revision") {
			t.Errorf("Cache-Status %q", got)
		}
	}
}

func TestConditionalRequestsGet304AndNeverReachTheServer(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	first := run(p, `{}`, http.Header{"Range": {"bytes=0-1"}, "If-None-Match": {`"other"`}})
	expect(t, first, "MISS")
	w := run(p, `{}`, http.Header{"If-None-Match": {first.Header().Get("ETag")}})
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("status %d with %d bytes, want 304 with none; header %v", w.Code, w.Body.Len(), w.Header())
	}
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func BenchmarkMemoryHit(b *testing.B) {
	p := startProxy(b, &fakeServer{}, nil)
	body := `{"mode":"CC","costBps":5,"benchmarkTicker":"SPY"}`
	if w := run(p, body, nil); w.Header().Get("X-Cache") != "MISS" {
		b.Fatalf("the first run was not stored: %v", w.Header())
	}
	r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "gzip")
	w := &discard{h: http.Header{}}
	reader := strings.NewReader(body)
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		p.ServeHTTP(w, r)
	}
	if got := w.h.Get("X-Cache"); got != "HIT" {
		b.Fatalf("X-Cache %q, want HIT", got)
	}
}
