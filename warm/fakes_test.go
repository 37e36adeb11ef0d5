package warm

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/test/harness"
)

// lab starts the Redis servers of the tests.
var lab *harness.Lab

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if lab, err = harness.NewRedisLab(); err != nil {
		fmt.Fprintln(os.Stderr, "warm tests:", err)
		return 1
	}
	defer lab.Close()
	// The coders are made at their first use, which must be outside of any test's bubble of time.
	if b, err := pack(&asked{}); err == nil {
		_, _ = unpack(b)
	}
	return m.Run()
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leakless fails the test when it leaves a goroutine behind.
func leakless(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// realRedis is a Redis for this test alone, with a client of it.
func realRedis(t *testing.T) (*harness.Redis, redis.UniversalClient) {
	t.Helper()
	r, err := lab.StartRedis()
	ok(t, err)
	t.Cleanup(r.Stop)
	return r, clientOf(t, r)
}

func clientOf(t *testing.T, r *harness.Redis) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Address, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// until waits for something that must come true soon.
func until(t *testing.T, what func() error) {
	t.Helper()
	ok(t, harness.Until(20*time.Second, what))
}

// fakeWorld is a server's data, its bots and its users.
type fakeWorld struct {
	mu      sync.Mutex
	state   State
	sure    bool
	users   int
	answers map[string]string // to Ask, by path; others are 404
}

func newWorld() *fakeWorld {
	return &fakeWorld{state: State{Date: "2026-01-14", Generation: "g1"}, sure: true, answers: map[string]string{"/api/nexus/bots": `{"bots":[]}`}}
}

func (w *fakeWorld) Data() (State, bool) { w.mu.Lock(); defer w.mu.Unlock(); return w.state, w.sure }
func (w *fakeWorld) UsersWaiting() int   { w.mu.Lock(); defer w.mu.Unlock(); return w.users }

func (w *fakeWorld) set(change func(*fakeWorld)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// moved gives the data another generation and date, settled.
func (w *fakeWorld) moved(date, generation string) {
	w.set(func(w *fakeWorld) { w.state = State{Date: date, Generation: generation} })
}

// lists makes the public list show bots 1 to n.
func (w *fakeWorld) lists(n int) *fakeWorld {
	var bots []string
	for i := range n {
		bots = append(bots, fmt.Sprintf(`{"id":"bot-%d","backtestMode":"CC","backtestCostBps":5}`, i+1))
	}
	w.set(func(w *fakeWorld) { w.answers["/api/nexus/bots"] = `{"bots":[` + strings.Join(bots, ",") + `]}` })
	return w
}

func (w *fakeWorld) Ask(_ context.Context, _, path string, _ []byte) (int, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.answers[path]; ok {
		return 200, []byte(a), nil
	}
	return 404, []byte(`{"error":"no"}`), nil
}

// A call is a request that reached the fake proxy.
type call struct {
	method, target, body string
	generation           string
	n                    int // of the same target and body in this generation
}

func (c call) name() string { return c.target + " " + c.body }

// fakeProxy stores what it answers, for a generation of the world's data, as the proxy does.
type fakeProxy struct {
	world *fakeWorld
	takes time.Duration
	// answers may answer in the server's place; false leaves it to the fake. Header and status are the
	// answer's.
	answers func(call, http.Header) (status int, ok bool)

	mu       sync.Mutex
	stored   map[string]bool
	calls    []call // those that were no hit
	hits     int
	inFlight int
	most     int
}

func newProxy(w *fakeWorld) *fakeProxy { return &fakeProxy{world: w, stored: map[string]bool{}} }

func (p *fakeProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	state, _ := p.world.Data()
	c := call{method: r.Method, target: r.URL.RequestURI(), body: string(body), generation: state.Generation}
	key := c.generation + " " + c.name()
	if p.hit(key) {
		w.Header().Set("X-Cache", "HIT")
		w.Header().Set("Cache-Status", "warmfront; hit; ttl=100; detail=memory")
		w.WriteHeader(200)
		return
	}
	c.n = p.begin(c)
	defer p.end()
	select {
	case <-time.After(p.takes):
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	if p.answers != nil {
		if status, ok := p.answers(c, w.Header()); ok {
			w.WriteHeader(status)
			return
		}
	}
	w.Header().Set("X-Cache", "MISS")
	w.Header().Set("Cache-Status", "warmfront; fwd=miss; stored; ttl=100; detail=upstream")
	p.mu.Lock()
	p.stored[key] = true
	p.mu.Unlock()
	_, _ = w.Write([]byte(`{}`))
}

func (p *fakeProxy) hit(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stored[key] {
		p.hits++
	}
	return p.stored[key]
}

func (p *fakeProxy) begin(c call) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.calls {
		if other.name() == c.name() && other.generation == c.generation {
			n++
		}
	}
	p.calls = append(p.calls, c)
	p.inFlight++
	p.most = max(p.most, p.inFlight)
	return n
}

func (p *fakeProxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
}

func (p *fakeProxy) seen() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]call(nil), p.calls...)
}

// started is how many requests the server has had.
func (p *fakeProxy) started() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.calls) }

// newLoop is an enabled loop of two requests at a time, without Redis, which finds that the data has moved.
func newLoop(w *fakeWorld, p http.Handler, change ...func(*Options)) *Loop {
	o := Options{World: w, Handler: p, Host: "server", Prefix: "test:", Enabled: true, Concurrency: 2, Journal: 1000, Log: zap.NewNop()}
	for _, c := range change {
		c(&o)
	}
	l := New(o)
	if o.Redis == nil {
		_ = l.ledger.found(context.Background(), "data of before") // the memory ledger can't fail
	}
	return l
}

// running has l run until the test's end, or until stop is called.
func running(t *testing.T, l *Loop) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// note is a user's request as the proxy would tell of it.
func note(t *testing.T, method, target, body string, took time.Duration) Note {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	route, param, found := keying.Match(method, path)
	if !found {
		t.Fatalf("%s %s is no intercepted route", method, path)
	}
	q, err := route.Parse(param, query, []byte(body), keying.ByOrder)
	ok(t, err)
	return Note{Request: q, Method: method, Target: target, Body: []byte(body), Upstream: took}
}

// known puts notes into a loop's journal.
func known(t *testing.T, l *Loop, notes ...Note) {
	t.Helper()
	for _, n := range notes {
		l.Note(n)
	}
	l.journal.flush(t.Context())
}

// lastRun waits for the n-th run that ended in the ledger's memory.
func lastRun(t *testing.T, l *Loop) *Report {
	t.Helper()
	v, err := l.ledger.look(t.Context(), "")
	ok(t, err)
	if v.run != nil {
		t.Fatalf("a run is under way: %+v, %+v", v.run, v.tally)
	}
	if v.last == nil {
		t.Fatal("no run has ended")
	}
	return v.last
}
