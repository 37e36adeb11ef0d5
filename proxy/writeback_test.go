package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy/store"
)

// metricsServer has one bot's saved metrics.
type metricsServer struct {
	mu     sync.Mutex
	saved  string // a JSON object, or null
	looks  int
	puts   []string
	status []int         // of the next PUTs; then 200
	landed bool          // whatever their status, they are saved
	hold   chan struct{} // each PUT takes one, when set
	held   chan struct{} // and says so before
}

func (s *metricsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPut && s.hold != nil {
		s.held <- struct{}{}
		select {
		case <-s.hold:
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		s.looks++
		fmt.Fprintf(w, `{"bot":{"id":"b","metrics":%s}}`, s.saved)
		return
	}
	s.puts = append(s.puts, string(body))
	if len(s.status) > 0 {
		if s.status[0] < 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(s.status[0])
		s.status = s.status[1:]
		if s.landed {
			s.saved = string(body)
		}
		return
	}
	s.saved = string(body)
}

func (s *metricsServer) did() (looks, puts int, saved string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks, len(s.puts), s.saved
}

func startWriteback(t *testing.T, s *metricsServer) *writeback {
	t.Helper()
	if s.saved == "" {
		s.saved = "null"
	}
	server := httptest.NewServer(s)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(&config.Config{UpstreamURL: base, DataDateTickers: []string{"SPY"}, MemoryLimit: 1 << 20, MaxEntry: 1 << 20, UpstreamTimeout: 10 * time.Second, MetricsWriteback: true}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return p.writeback
}

// variant is a stored run with these metrics, as an object without its braces.
func variant(key, metrics string) *store.Entry {
	return &store.Entry{Key: key, Body: []byte(`{"success":true,"cached":false,"metrics":{` + metrics + `},"equityCurve":[]}`)}
}

// settled waits until nothing is wanted or under way.
func settled(t *testing.T, w *writeback) {
	t.Helper()
	until(t, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.wanted > 0 || w.workers > 0 || w.held != 0 {
			return fmt.Errorf("%d wanted, %d workers, %d bytes held", w.wanted, w.workers, w.held)
		}
		return nil
	})
}

func TestWritebackSendsOnceAVariantAndLooksFirstWhenItDoesNotKnow(t *testing.T) {
	one, two := variant("1", `"cagr":0.1`), variant("2", `"cagr":0.2`)
	fill := func(w *writeback, e *store.Entry) { w.begin("b"); w.end("b", ending{saved: e, last: true}) }
	for _, c := range []struct {
		name        string
		saved       string
		do          func(w *writeback)
		looks, puts int
	}{
		{"unknown, and the same", `{"cagr":1e-1,"updatedAt":5}`, func(w *writeback) { w.hit("b", one) }, 1, 0},
		{"unknown, and none", `null`, func(w *writeback) { w.hit("b", one) }, 1, 1},
		{"unknown, and another", `{"cagr":0.3}`, func(w *writeback) { w.hit("b", one) }, 1, 1},
		{"filled by us", `{}`, func(w *writeback) { fill(w, one); w.hit("b", one) }, 0, 0},
		{"another filled by us", `{}`, func(w *writeback) { fill(w, one); fill(w, two); w.hit("b", one); settled(t, w); w.hit("b", one) }, 0, 1},
		{"forgotten", `{"cagr":0.3}`, func(w *writeback) { fill(w, one); w.superseded("b"); w.hit("b", one) }, 1, 1},
		{"all forgotten", `{"cagr":0.1}`, func(w *writeback) { fill(w, one); w.forgetAll(); w.hit("b", one) }, 1, 0},
		{"a fill that was not stored", `{"cagr":0.3}`, func(w *writeback) { fill(w, one); fill(w, nil); w.hit("b", one) }, 1, 1},
		{"a fill that failed", `{"cagr":0.3}`, func(w *writeback) {
			fill(w, one)
			w.begin("b")
			w.end("b", ending{unsure: true})
			for range 5 {
				w.hit("b", one)
				settled(t, w)
			}
		}, 1, 1},
		{"during a fill, whose metrics come after", `{}`, func(w *writeback) {
			w.begin("b")
			w.hit("b", two)
			w.end("b", ending{saved: one, last: true})
			settled(t, w)
			w.hit("b", one)
		}, 0, 0},
		{"during a run that passes", `{}`, func(w *writeback) { ended := w.passes("b"); w.hit("b", two); ended(false) }, 1, 1},
		{"before a run that passes", `{}`, func(w *writeback) {
			w.begin("b")
			w.hit("b", two)
			ended := w.passes("b")
			ended(false)
			w.end("b", ending{})
		}, 0, 0},
		{"two fills at once", `{"cagr":0.2}`, func(w *writeback) {
			w.begin("b")
			w.begin("b")
			w.end("b", ending{saved: two, last: true})
			w.end("b", ending{saved: one, last: true}) // answered last, saved perhaps not
		}, 1, 1},
		{"another replica moves it, on nobody's behalf", `{"cagr":0.3}`, func(w *writeback) {
			w.begin("b")
			w.hit("b", two)
			w.moved("b")
			w.end("b", ending{})
		}, 1, 1},
		{"another replica answers", `{"cagr":0.3}`, func(w *writeback) {
			w.begin("b")
			w.hit("b", two)
			w.superseded("b")
			w.end("b", ending{})
		}, 0, 0},
		{"a fill that another replica's run met", `{"cagr":0.3}`, func(w *writeback) {
			w.begin("b")
			w.moved("b")
			w.end("b", ending{saved: one, last: true})
			settled(t, w)
			w.hit("b", one)
		}, 1, 1},
		{"the loop's run, and then its hit", `{}`, func(w *writeback) {
			fill(w, one)
			w.begin("b")
			w.end("b", ending{saved: two, last: true, warmed: true})
			w.warmHit("b", one)
		}, 0, 1},
		{"the loop's hit alone", `{}`, func(w *writeback) { fill(w, two); w.warmHit("b", one) }, 0, 0},
		{"the loop's run, a user's hit, and the loop's", `{}`, func(w *writeback) {
			fill(w, one)
			w.begin("b")
			w.end("b", ending{saved: two, last: true, warmed: true})
			w.hit("b", two)
			w.warmHit("b", one)
		}, 0, 0},
		{"an audit of the last", `{}`, func(w *writeback) {
			fill(w, one)
			if !w.beginAudit("b", "1") {
				t.Error("not let")
			}
			w.hit("b", two)
			w.end("b", ending{saved: one})
		}, 0, 1},
		{"an audit of another", `{}`, func(w *writeback) {
			fill(w, one)
			if w.beginAudit("b", "2") || w.beginAudit("other", "1") {
				t.Error("it would undo what was answered since")
			}
		}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &metricsServer{saved: c.saved}
			w := startWriteback(t, s)
			c.do(w)
			settled(t, w)
			if looks, puts, saved := s.did(); looks != c.looks || puts != c.puts {
				t.Errorf("%d looks and %d writes, want %d and %d; the server has %s", looks, puts, c.looks, c.puts, saved)
			}
		})
	}
}

func TestWritebackInFlightIsFollowedByTheLastAnswer(t *testing.T) {
	s := &metricsServer{hold: make(chan struct{}), held: make(chan struct{}, 9)}
	w := startWriteback(t, s)
	one, two, three := variant("1", `"cagr":0.1`), variant("2", `"cagr":0.2`), variant("3", `"cagr":0.3`)
	w.hit("b", one)
	<-s.held
	w.hit("b", two)
	w.hit("b", three)
	s.hold <- struct{}{}
	<-s.held
	w.begin("b") // a run begins while a write is under way: nobody knows which came last
	w.end("b", ending{saved: two, last: true})
	close(s.hold)
	settled(t, w)
	if _, puts, saved := s.did(); saved != `{"cagr":0.2}` || puts != 3 {
		t.Errorf("%d writes; the server has %s", puts, saved)
	}
}

func TestWritebackThatMetAForeignWriteIsNotBelieved(t *testing.T) {
	s := &metricsServer{hold: make(chan struct{}), held: make(chan struct{}, 9)}
	w := startWriteback(t, s)
	one := variant("1", `"cagr":0.1`)
	w.hit("b", one)
	<-s.held
	w.passes("b")(false)
	close(s.hold)
	settled(t, w)
	s.mu.Lock()
	s.saved = `{"cagr":0.5}` // it came last
	s.mu.Unlock()
	w.hit("b", one)
	settled(t, w)
	if looks, puts, saved := s.did(); looks != 2 || puts != 2 || saved != `{"cagr":0.1}` {
		t.Errorf("%d looks, %d writes; the server has %s", looks, puts, saved)
	}
}

func TestWritebackThatMayHaveLandedIsLookedAfter(t *testing.T) {
	s := &metricsServer{status: []int{503}, landed: true, hold: make(chan struct{}), held: make(chan struct{}, 9)}
	w := startWriteback(t, s)
	one, two := variant("1", `"cagr":0.1`), variant("2", `"cagr":0.2`)
	w.begin("b")
	w.end("b", ending{saved: two, last: true})
	w.hit("b", one)
	<-s.held
	w.hit("b", two)
	close(s.hold)
	settled(t, w)
	if _, puts, saved := s.did(); puts != 2 || saved != `{"cagr":0.2}` {
		t.Errorf("%d writes; the server has %s", puts, saved)
	}
}

func TestWritebackThatCantBeDoneIsDroppedAndCounted(t *testing.T) {
	for _, c := range []struct {
		reason string
		status []int // of the PUTs; a negative one for ever
		entry  *store.Entry
		puts   int
	}{
		{"refused", []int{400, 400}, variant("1", `"cagr":0.1`), 1},
		{"refused", []int{503, 404}, variant("1", `"cagr":0.1`), 2},
		{"", []int{429, 500}, variant("1", `"cagr":0.1`), 3},
		{"unreachable", []int{503, -1}, variant("1", `"cagr":0.1`), -1},
		{"refused", nil, variant("1", `"cagr":null`), 0},
		{"refused", nil, &store.Entry{Key: "1", Body: []byte(`{"success":true}`)}, 0},
		{"refused", nil, &store.Entry{Key: "1", Body: []byte(`{"metrics"`), Gzip: true}, 0},
	} {
		s := &metricsServer{status: c.status}
		w := startWriteback(t, s)
		tries := 3
		if c.reason == "unreachable" {
			w.limit, tries = 500*time.Millisecond, 1 // it may be there again at the next hit
		}
		for range tries {
			w.hit("b", c.entry)
			settled(t, w)
		}
		dropped := 0.0
		if c.reason != "" {
			dropped = testutil.ToFloat64(w.dropped.WithLabelValues(c.reason))
		}
		if _, puts, _ := s.did(); c.puts >= 0 && puts != c.puts || (dropped == 1) != (c.reason != "") || testutil.CollectAndCount(w.dropped) > 1 {
			t.Errorf("%s, %v: %d writes, %v dropped", c.entry.Body, c.status, puts, dropped)
		}
	}
}

func TestWritebackQueueIsBounded(t *testing.T) {
	s := &metricsServer{hold: make(chan struct{}), held: make(chan struct{}, 2*maxWanted)}
	w := startWriteback(t, s)
	for i := range maxWanted + 10 {
		w.hit(fmt.Sprint("bot-", i), variant("1", `"cagr":0.1`))
	}
	if n := testutil.ToFloat64(w.dropped.WithLabelValues("full")); n != 10 {
		t.Errorf("%v dropped, want 10", n)
	}
	close(s.hold)
	settled(t, w)
	large := variant("2", `"cagr":0.2,"pad":"`+strings.Repeat("x", 1<<20)+`"`)
	w.mu.Lock()
	w.workers = writebackWorkers // nobody takes anything off the queue
	w.mu.Unlock()
	for i := range maxWantedBytes>>20 + 5 {
		w.hit(fmt.Sprint("bot-", i), large)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held > maxWantedBytes || w.wanted == 0 {
		t.Errorf("%d bytes are held by %d bots", w.held, w.wanted)
	}
	w.workers = 0
}

func TestClosingGivesTheWritebackItsTimeAndNoMore(t *testing.T) {
	s := &metricsServer{hold: make(chan struct{}), held: make(chan struct{}, 1)}
	w := startWriteback(t, s)
	w.hit("b", variant("1", `"cagr":0.1`))
	<-s.held
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.close(ctx)
	if n := testutil.ToFloat64(w.dropped.WithLabelValues("closing")); n != 1 {
		t.Errorf("%v dropped, want 1", n)
	}
	w.hit("b", variant("2", `"cagr":0.2`)) // too late, and no harm
	settled(t, w)
}

func TestOwnWritesAreAnnounced(t *testing.T) {
	s := &metricsServer{}
	w := startWriteback(t, s)
	var said []string
	w.p.beginWrite = func(bot string) func(bool) {
		said = append(said, "begin "+bot)
		return func(certain bool) { said = append(said, fmt.Sprint("end ", bot, " ", certain)) }
	}
	w.hit("b", variant("1", `"cagr":0.1`))
	settled(t, w)
	if got := strings.Join(said, ", "); got != "begin b, end b true" {
		t.Errorf("announced %q", got)
	}
}
