package test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"warmfront/test/harness"
)

func TestSecondReplicaHitsWhatTheFirstStored(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	miss := post(t, one.URL+runPath, `{"mode":"OO"}`)
	expect(t, miss, 200, "X-Cache: MISS")
	hit := post(t, two.URL+runPath, `{"mode":"OO"}`)
	expect(t, hit, 200, "X-Cache: HIT", "X-Cache-Tier: redis", "Etag: "+miss.Header.Get("Etag"))
	sameBody(t, hit, miss)
	reached(t, up, runRoute, 1)
}

func TestPrefixesKeepTwoWarmfrontsOfOneRedisApart(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	one := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REDIS_PREFIX": "one:"})
	two := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REDIS_PREFIX": "two:"})
	expect(t, get(t, one.URL+"/api/candles/SPY?limit=77"), 200, "X-Cache: MISS")
	expect(t, get(t, two.URL+"/api/candles/SPY?limit=77"), 200, "X-Cache: MISS")
}

func TestEpochMakesOldAnswersUnreachable(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	one := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "EPOCH": "engine-1"})
	two := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "EPOCH": "engine-2"})
	expect(t, get(t, one.URL+"/api/candles/SPY?limit=77"), 200, "X-Cache: MISS")
	expect(t, get(t, two.URL+"/api/candles/SPY?limit=77"), 200, "X-Cache: MISS")
}

func TestTwoHundredAtOnceAreOneBacktest(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	c := client(t)
	ctx := limit(t)
	const clients = 200
	answers, failures := make([]*harness.Answer, clients), make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			answers[i], failures[i] = harness.Send(ctx, c, harness.Request{Method: "POST", URL: w.URL + runPath, Body: []byte(`{}`)})
		})
	}
	all.Wait()
	ok(t, errors.Join(failures...))
	for _, a := range answers {
		expect(t, a, 200)
		if x := a.Header.Get("X-Cache"); x != "MISS" && x != "HIT" {
			t.Fatalf("X-Cache is %q, expected MISS or HIT\n%s", x, a)
		}
		sameBody(t, a, answers[0])
	}
	reached(t, up, runRoute, 1)
}

// caller is a client that may leave before its answer.
type caller struct {
	leave  context.CancelFunc
	sent   chan struct{}
	answer chan *harness.Answer // nil when there was none
}

// call posts body to url and does not wait for the answer.
func call(t *testing.T, url, body string) *caller {
	t.Helper()
	ctx, cancel := context.WithCancel(limit(t))
	c := &caller{leave: cancel, sent: make(chan struct{}), answer: make(chan *harness.Answer, 1)}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(c.sent) }})
	own := client(t)
	go func() {
		a, _ := harness.Send(ctx, own, harness.Request{Method: "POST", URL: url, Body: []byte(body)})
		c.answer <- a
	}()
	return c
}

// joined waits until w has taken in the requests of all callers: they are written, and round trips
// that began after them are over.
func joined(t *testing.T, w *harness.Server, callers ...*caller) {
	t.Helper()
	for _, c := range callers {
		within(t, "a request is written", c.sent)
	}
	for range 30 {
		expect(t, get(t, w.URL+"/_warmfront/healthz"), 200)
	}
}

// observer passes requests on to the server and tells when the one it watches came and ended.
type observer struct {
	url          string
	began, ended chan struct{} // one value for each request to path
}

func observe(t *testing.T, up *harness.Upstream, path string) *observer {
	t.Helper()
	o := &observer{began: make(chan struct{}, 100), ended: make(chan struct{}, 100)}
	through := passTo(t, up)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			o.began <- struct{}{}
			defer func() { o.ended <- struct{}{} }()
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	o.url = s.URL
	return o
}

// passTo sends requests on to the server, so that a test can stand between.
func passTo(t *testing.T, up *harness.Upstream) http.Handler {
	t.Helper()
	target, err := url.Parse(up.URL)
	ok(t, err)
	through := httputil.NewSingleHostReverseProxy(target)
	through.FlushInterval = -1
	through.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return through
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within a minute", what)
	}
}

func TestClientThatLeavesDoesNotHurtTheOthers(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	seen := observe(t, up, runPath)
	w := warmfront(t, seen.url, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, DelayMS: 1500, Status: 200, Body: canned("waited-for"),
		Headers: map[string]string{"Content-Type": "application/json"}})

	leaves := call(t, w.URL+runPath, `{}`)
	within(t, "the call of the first client reaches the server", seen.began)
	stays := call(t, w.URL+runPath, `{}`)
	joined(t, w, leaves, stays)
	leaves.leave()
	if a := <-leaves.answer; a != nil {
		t.Fatalf("the first client was to leave before its answer\n%s", a)
	}
	a := <-stays.answer
	if a == nil {
		t.Fatal("the client that stayed got no answer")
	}
	expect(t, a, 200, "X-Cache: MISS")
	expectCacheStatus(t, a, "collapsed")
	expectBody(t, a, []byte(canned("waited-for")))
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	reached(t, up, runRoute, 1)
}

func TestLastClientToLeaveEndsTheCall(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	seen := observe(t, up, runPath)
	w := warmfront(t, seen.url, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Hang: true})

	callers := []*caller{call(t, w.URL+runPath, `{}`), call(t, w.URL+runPath, `{}`), call(t, w.URL+runPath, `{}`)}
	within(t, "the call reaches the server", seen.began)
	joined(t, w, callers...)
	for i, c := range callers {
		select {
		case <-seen.ended:
			t.Fatalf("the call ended when %d of 3 clients had left", i)
		default:
		}
		c.leave()
		<-c.answer
	}
	within(t, "the call ends when all have left", seen.ended)
	ok(t, up.NoOverrides())
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS") // nothing is stuck
}

// Half a connection is no sign that the client has left, but net/http takes it for one. Then the
// client must not be told of a success that it did not have.
func TestClientThatHalfClosesIsToldNoFalseSuccess(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, DelayMS: 300, Status: 200, Headers: asJSON, Body: canned("whole"), Times: 9})
	override(t, up, harness.Override{Method: "POST", Path: "/echo", DelayMS: 300, Status: 200, Headers: asJSON, Body: canned("whole"), Times: 9})
	for _, path := range []string{runPath, "/echo"} {
		c := dial(t, w.URL)
		_, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
		ok(t, err)
		ok(t, c.CloseWrite())
		got, err := io.ReadAll(c)
		ok(t, err)
		if len(got) > 0 && !strings.HasSuffix(string(got), canned("whole")) {
			t.Errorf("%s: expected the whole answer, or none, got %q", path, got)
		}
	}
}
