package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/proxy/board"
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
	switch r.URL.Path {
	case "/api/benchmarks/metrics":
		if p.text == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, p.text)
		return
	case "/api/backtest":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"error":"Not enough overlapping price data"}`)
		return
	}
	body, ok := p.candles[strings.TrimPrefix(r.URL.Path, "/api/candles/")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprint(w, body)
}

func candles(day string, price int) string {
	at, _ := time.Parse(time.DateOnly, day)
	return fmt.Sprintf(`{"ticker":"X","candles":[{"time":1,"close":1},{"time":%d,"close":%d}]}`, at.Unix(), price)
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

// alone is the board of a replica without others.
func alone() *board.Board { return board.New(nil, "", time.Hour, nil, zap.NewNop()) }

func mustRevision(t *testing.T, r *Revisions) keying.Revision {
	t.Helper()
	revs, sure, err := r.Of(context.Background(), Bots{IDs: []string{"b"}})
	if err != nil || !sure {
		t.Fatalf("Of gave %v, sure %v, %v", revs, sure, err)
	}
	return revs[0]
}

func TestRevisionIsAskedForOnceAnIntervalHoweverManyWait(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	r := NewRevisions(c, time.Hour, time.Hour, alone())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { mustRevision(t, r) })
	}
	wg.Wait()
	mustRevision(t, r)
	if n := b.asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
	r = NewRevisions(c, 0, 0, alone())
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
	r := NewRevisions(c, 0, 0, alone())
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
	b, shown := newBots(), Bots{IDs: []string{"b"}}
	c, _ := serve(t, b.ServeHTTP)
	writes := alone()
	r := NewRevisions(c, time.Hour, time.Hour, writes)
	var once sync.Once
	b.before = func() {
		once.Do(func() {
			write := writes.Begin(context.Background(), board.Subject{Class: board.Bot, Name: "b"})
			b.payload.Store(`{"kind":"position"}`)
			write.End(true)
		})
	}
	before, _ := r.Epochs(shown)
	old := mustRevision(t, r)
	if now := mustRevision(t, r); now == old {
		t.Errorf("the revision from before the write was believed after it: %+v", now)
	}
	if after, _ := r.Epochs(shown); after[0] == before[0] {
		t.Errorf("the epoch is %v before and after a write", before)
	}
	for _, s := range []board.Subject{{Class: board.Bot, Name: "b"}, {Class: board.Bot}} {
		asked, _ := b.asked.Load(), mustRevision(t, r)
		before, _ := r.Epochs(shown)
		writes.Begin(context.Background(), s).End(true)
		mustRevision(t, r)
		if after, _ := r.Epochs(shown); b.asked.Load() != asked+1 || after[0] == before[0] {
			t.Errorf("a write to %+v did not make the revision unknown", s)
		}
	}
}

func TestWhileAWriteIsUnderWayABotIsAskedForEachTime(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	writes := alone()
	r := NewRevisions(c, time.Hour, time.Hour, writes)
	mustRevision(t, r)
	write := writes.Begin(context.Background(), board.Subject{Class: board.Bot, Name: "b"})
	for i := range 3 {
		b.payload.Store(fmt.Sprintf(`{"kind":"position","n":%d}`, i))
		old := mustRevision(t, r)
		if _, still := r.Epochs(Bots{IDs: []string{"b"}}); still {
			t.Error("a bot that is being written to counts as still")
		}
		b.payload.Store(fmt.Sprintf(`{"kind":"position","n":%d}`, i+100))
		if now := mustRevision(t, r); now == old {
			t.Errorf("while a write is under way the revision %+v was believed", now)
		}
	}
	write.End(false)
	asked := b.asked.Load()
	mustRevision(t, r)
	mustRevision(t, r)
	if n := b.asked.Load() - asked; n != 2 {
		t.Errorf("after a write of unknown outcome the server was asked %d times for two look-ups", n)
	}
}

// A run that its last client has left counts as a write of metrics for a minute: its bot's strategy must not
// be asked for on each hit as long.
func TestStrategyIsBelievedWhileMetricsAreBeingWritten(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	writes := alone()
	r := NewRevisions(c, time.Hour, time.Hour, writes)
	writes.Begin(context.Background(), board.Subject{Class: board.Metrics, Name: "b"}).End(false)
	mustRevision(t, r)
	mustRevision(t, r)
	if n := b.asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times for one strategy", n)
	}
	for range 2 {
		if _, _, err := r.Of(context.Background(), Bots{IDs: []string{"b"}, Metrics: true}); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.asked.Load(); n != 3 {
		t.Errorf("the server was asked %d times more, want each time that metrics count", n-1)
	}
}

func TestAWriteOfMetricsConcernsThoseOnlyToWhomMetricsCount(t *testing.T) {
	b := newBots()
	c, _ := serve(t, b.ServeHTTP)
	writes := alone()
	r := NewRevisions(c, time.Hour, time.Hour, writes)
	mustRevision(t, r)
	writes.Begin(context.Background(), board.Subject{Class: board.Metrics, Name: "b"}).End(true)
	mustRevision(t, r)
	if n := b.asked.Load(); n != 1 {
		t.Errorf("after a write of metrics a look-up without them asked the server %d times in all, want once", n)
	}
	if _, sure, err := r.Of(context.Background(), Bots{IDs: []string{"b"}, Metrics: true}); !sure || err != nil || b.asked.Load() != 2 {
		t.Errorf("a look-up with metrics: sure %v, %v, asked %d times in all; want twice", sure, err, b.asked.Load())
	}
}

func TestBotThatIsNotShownHasNoRevision(t *testing.T) {
	b := newBots()
	c, down := serve(t, b.ServeHTTP)
	r := NewRevisions(c, 0, 0, alone())
	last := mustRevision(t, r)
	b.status.Store(http.StatusInternalServerError)
	if revs, sure, err := r.Of(context.Background(), Bots{IDs: []string{"b"}}); err != nil || sure || revs[0] != last {
		t.Errorf("a server in trouble: %v, sure %v, %v; want the last known, not sure", revs, sure, err)
	}
	down()
	if revs, sure, err := r.Of(context.Background(), Bots{IDs: []string{"b"}}); err != nil || sure || revs[0] != last {
		t.Errorf("a server that is down: %v, sure %v, %v; want the last known, not sure", revs, sure, err)
	}
	if _, _, err := r.Of(context.Background(), Bots{IDs: []string{"b", "never seen"}}); !errors.Is(err, ErrDown) {
		t.Errorf("a bot never seen, with the server down: %v, want ErrDown", err)
	}

	c, _ = serve(t, b.ServeHTTP)
	b.status.Store(http.StatusNotFound)
	r = NewRevisions(c, time.Hour, time.Hour, alone())
	if _, _, err := r.Of(context.Background(), Bots{IDs: []string{"b"}}); !errors.Is(err, ErrNoRevision) {
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
	o := NewOrigins(c, nil)
	t.Cleanup(o.Close)
	for _, origin := range []string{"http://a", "http://b", "http://a"} {
		h, err := o.Headers(context.Background(), origin, true)
		if err != nil || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Vary") != "Origin, Accept-Encoding" || h.Get("X-Other") != "" {
			t.Errorf("%s: %v, %v", origin, h, err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times for two origins", n)
	}
	if _, err := o.Headers(context.Background(), "http://refused", true); !errors.Is(err, ErrStatus) {
		t.Errorf("an origin that the server refuses: %v, want ErrStatus", err)
	}
	down()
	if h, err := o.Headers(context.Background(), "http://new", true); !errors.Is(err, ErrDown) {
		t.Errorf("a new origin with the server down: %v, %v; want ErrDown", h, err)
	}
	if h := o.Remembered("http://a"); h.Get("Access-Control-Allow-Origin") != "http://a" {
		t.Errorf("remembered for http://a: %v", h)
	}
	for i := range maxOrigins + 1 {
		o.Learn(fmt.Sprint(i), http.Header{})
	}
	if n := o.others.Len(); n > maxOrigins {
		t.Errorf("%d origins are remembered, over the bound of %d", n, maxOrigins)
	}
	if h := o.Remembered("http://a"); h == nil {
		t.Error("origins that somebody made up pushed out one that the server allows")
	}
}
