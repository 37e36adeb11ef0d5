package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"warmfront/keying"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve gives a client of a server that answers with h, and a way to take the server down.
func serve(t *testing.T, h http.HandlerFunc) (c *Client, down func()) {
	t.Helper()
	server := httptest.NewServer(h)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	down = sync.OnceFunc(func() { server.CloseClientConnections(); server.Close() })
	t.Cleanup(func() { transport.CloseIdleConnections(); down() })
	return NewClient(base, transport, 10*time.Second), down
}

// prices is a server's data as DataWatch sees it.
type prices struct {
	mu      sync.Mutex
	candles map[string]string // body by ticker; none is 404
	text    string            // body of benchmarks/metrics; none is 500
}

func (p *prices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/api/benchmarks/metrics" {
		if p.text == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, p.text)
		return
	}
	body, ok := p.candles[r.URL.Path[len("/api/candles/"):]]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprint(w, body)
}

func candles(day string, price int) string {
	at, _ := time.Parse(time.DateOnly, day)
	return fmt.Sprintf(`{"ticker":"X","candles":[{"time":1,"close":1},{"time":%d,"close":%d}]}`, at.Unix(), price)
}

func TestEveryChangeOfDataIsAnotherGeneration(t *testing.T) {
	p := &prices{candles: map[string]string{"SPY": candles("2026-01-13", 1), "QQQ": candles("2026-01-12", 1)}, text: `{"dataDate":"Tue Jan 13"}`}
	c, down := serve(t, p.ServeHTTP)
	core, logged := observer.New(zap.InfoLevel)
	d := NewDataWatch(c, []string{"SPY", "QQQ", "GONE"}, time.Hour, zap.New(core))
	if state, sure := d.Current(); state != nil || sure {
		t.Fatalf("before any answer the state is %+v, sure %v", state, sure)
	}
	seen := map[string]string{}
	step := func(what, date string, changes bool, change func()) {
		t.Helper()
		before, _ := d.Current()
		p.mu.Lock()
		change()
		p.mu.Unlock()
		if err := d.Poll(context.Background()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		state, sure := d.Current()
		if !sure || state.Date != date || (before != nil && (state.Generation != before.Generation) != changes) {
			t.Errorf("%s: date %s, generation %s, sure %v; want date %s, changed %v from %+v", what, state.Date, state.Generation, sure, date, changes, before)
		}
		if before != nil && changes {
			if was, ok := seen[state.Generation]; ok {
				t.Errorf("%s: generation %s was that of %s", what, state.Generation, was)
			}
			if state.MovedAt.IsZero() {
				t.Errorf("%s: no time of the change", what)
			}
		}
		seen[state.Generation] = what
	}
	step("start", "2026-01-13", false, func() {})
	step("nothing new", "2026-01-13", false, func() {})
	step("next day", "2026-01-14", true, func() { p.candles["SPY"] = candles("2026-01-14", 1) })
	step("history restated", "2026-01-14", true, func() { p.candles["SPY"] = candles("2026-01-14", 2) })
	step("text empty on a Tuesday", "2026-01-14", true, func() { p.text = `{"dataDate":""}` })
	step("text can't be asked for", "2026-01-14", false, func() { p.text = "" })
	step("a canary's file is being rewritten", "2026-01-14", false, func() { delete(p.candles, "SPY") })
	step("backwards", "2026-01-12", true, func() { p.candles["SPY"] = candles("2026-01-11", 1) })
	if n := logged.FilterMessage("the data date went backwards").Len(); n != 1 {
		t.Errorf("going backwards was logged %d times, want once", n)
	}
	if n := logged.FilterMessageSnippet("canary ticker").Len(); n == 0 {
		t.Error("a canary without candles was not logged")
	}
	down()
	if err := d.Poll(context.Background()); !errors.Is(err, ErrDown) {
		t.Errorf("Poll of a server that is down: %v, want ErrDown", err)
	}
	if state, sure := d.Current(); state == nil || sure {
		t.Errorf("with the server down the state is %+v, sure %v; want the last one, not sure", state, sure)
	}
}

func TestNoDateIsKnownFromAServerWithoutCandles(t *testing.T) {
	for name, body := range map[string]string{"no candles": `{"candles":[]}`, "index.html": "<!doctype html>", "not an object": `[1]`} {
		p := &prices{candles: map[string]string{"SPY": body}, text: `{"dataDate":"x"}`}
		c, _ := serve(t, p.ServeHTTP)
		d := NewDataWatch(c, []string{"SPY"}, time.Hour, zap.NewNop())
		err := d.Poll(context.Background())
		if state, _ := d.Current(); err == nil || state != nil {
			t.Errorf("%s: state %+v, %v", name, state, err)
		}
	}
}

// bots is a server that shows one bot, whatever its id, and counts how often.
type bots struct {
	payload atomic.Value
	status  atomic.Int32
	asked   atomic.Int32
	queries chan string
	before  func()
}

func (b *bots) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked.Add(1)
	select {
	case b.queries <- r.URL.RawQuery:
	default:
	}
	payload := b.payload.Load()
	if b.before != nil {
		b.before()
	}
	if status := b.status.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	fmt.Fprintf(w, `{"bot":{"id":"b","ownerId":"user a","payload":%q,"updatedAt":1}}`, payload)
}

func newBots() *bots {
	b := &bots{queries: make(chan string, 10)}
	b.payload.Store(`{"kind":"basic"}`)
	return b
}

func mustRevision(t *testing.T, r *Revisions) keying.Revision {
	t.Helper()
	revs, sure, err := r.Of(context.Background(), []string{"b"})
	if err != nil || !sure {
		t.Fatalf("Of gave %v, sure %v, %v", revs, sure, err)
	}
	return revs[0]
}

func TestRevisionIsAskedForOnceAnIntervalHoweverManyWait(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	r := NewRevisions(c, time.Hour)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { mustRevision(t, r) })
	}
	wg.Wait()
	mustRevision(t, r)
	if n := b.asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
	r = NewRevisions(c, 0)
	mustRevision(t, r)
	mustRevision(t, r)
	if n := b.asked.Load(); n != 3 {
		t.Errorf("with an interval of 0 the server was asked %d times more, want 2", n-1)
	}
}

func TestOwnerIsNamedSoThatANexusBotShowsItsPayload(t *testing.T) {
	b := newBots()
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			b.queries <- ""
			fmt.Fprint(w, `{"bot":{"id":"b","ownerId":"user a","updatedAt":1}}`)
			return
		}
		b.ServeHTTP(w, r)
	})
	r := NewRevisions(c, 0)
	first := mustRevision(t, r)
	second := mustRevision(t, r)
	if first.Hidden() || first != second {
		t.Errorf("revisions %+v, then %+v; want the same one, of the payload", first, second)
	}
	for i, want := range []string{"", "userId=user+a", "userId=user+a"} {
		if got := <-b.queries; got != want {
			t.Errorf("request %d had the query %q, want %q", i+1, got, want)
		}
	}
}

func TestWriteMakesARevisionUnknownEvenWhileItIsBeingFetched(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	r := NewRevisions(c, time.Hour)
	var once sync.Once
	b.before = func() {
		once.Do(func() {
			b.payload.Store(`{"kind":"position"}`)
			r.Forget("b")
		})
	}
	epochs := r.Epochs([]string{"b"})
	old := mustRevision(t, r)
	if now := mustRevision(t, r); now == old {
		t.Errorf("the revision from before the write was believed after it: %+v", now)
	}
	if after := r.Epochs([]string{"b"}); after[0] == epochs[0] {
		t.Errorf("the epoch is %v before and after a write", epochs)
	}
	for _, id := range []string{"b", ""} {
		asked, epochs := b.asked.Load(), r.Epochs([]string{"b"})
		r.Forget(id)
		mustRevision(t, r)
		if b.asked.Load() != asked+1 || r.Epochs([]string{"b"})[0] == epochs[0] {
			t.Errorf("Forget(%q) did not make the revision unknown", id)
		}
	}
}

func TestBotThatIsNotShownHasNoRevision(t *testing.T) {
	b := newBots()
	c, down := serve(t, b.ServeHTTP)
	r := NewRevisions(c, 0)
	last := mustRevision(t, r)
	b.status.Store(http.StatusInternalServerError)
	if revs, sure, err := r.Of(context.Background(), []string{"b"}); err != nil || sure || revs[0] != last {
		t.Errorf("a server in trouble: %v, sure %v, %v; want the last known, not sure", revs, sure, err)
	}
	down()
	if revs, sure, err := r.Of(context.Background(), []string{"b"}); err != nil || sure || revs[0] != last {
		t.Errorf("a server that is down: %v, sure %v, %v; want the last known, not sure", revs, sure, err)
	}
	if _, _, err := r.Of(context.Background(), []string{"b", "never seen"}); !errors.Is(err, ErrDown) {
		t.Errorf("a bot never seen, with the server down: %v, want ErrDown", err)
	}

	c, _ = serve(t, b.ServeHTTP)
	b.status.Store(http.StatusNotFound)
	r = NewRevisions(c, time.Hour)
	if _, _, err := r.Of(context.Background(), []string{"b"}); !errors.Is(err, ErrNoRevision) {
		t.Errorf("a bot that does not exist: %v, want ErrNoRevision", err)
	}
}

func TestEachOriginGetsItsOwnHeaders(t *testing.T) {
	var asked atomic.Int32
	c, down := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		origin := r.Header.Get("Origin")
		if origin == "http://refused" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Vary", "Origin, accept-encoding")
		w.Header().Set("X-Other", "1")
	})
	o := NewOrigins(c)
	for _, origin := range []string{"http://a", "http://b", "http://a"} {
		h, err := o.Headers(context.Background(), origin)
		if err != nil || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Vary") != "Origin, Accept-Encoding" || h.Get("X-Other") != "" {
			t.Errorf("%s: %v, %v", origin, h, err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times for two origins", n)
	}
	if _, err := o.Headers(context.Background(), "http://refused"); !errors.Is(err, ErrStatus) {
		t.Errorf("an origin that the server refuses: %v, want ErrStatus", err)
	}
	down()
	if h, err := o.Headers(context.Background(), "http://new"); !errors.Is(err, ErrDown) {
		t.Errorf("a new origin with the server down: %v, %v; want ErrDown", h, err)
	}
	if h := o.Remembered("http://a"); h.Get("Access-Control-Allow-Origin") != "http://a" {
		t.Errorf("remembered for http://a: %v", h)
	}
	for i := range maxOrigins + 1 {
		o.Learn(fmt.Sprint(i), http.Header{})
	}
	if n := len(o.known); n > maxOrigins {
		t.Errorf("%d origins are remembered, over the bound of %d", n, maxOrigins)
	}
}

func TestServerThatAsksForCredentialsIsNotPublic(t *testing.T) {
	for status, want := range map[int]bool{404: true, 200: true, 401: false, 403: false, 500: false} {
		c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		a := NewAccess(c, zap.NewNop())
		if a.Public() || a.Known() {
			t.Error("public before the server was asked")
		}
		answered := a.Probe(context.Background())
		if a.Public() != want || answered != (status < 500) {
			t.Errorf("status %d: public %v, answered %v", status, a.Public(), answered)
		}
	}
}
