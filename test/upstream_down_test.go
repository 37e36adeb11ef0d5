package test

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"warmfront/test/harness"
)

const unavailable = `{"error":"upstream unavailable"}`

func TestStoredAnswerIsServedStaleWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, nil)
	w := warmfront(t, up.URL, harness.Env{"CACHE_TTL": "1s", "STALE_TTL": "1h"})
	miss := post(t, w.URL+runPath, `{}`, "Origin: http://app.example")
	expect(t, miss, 200, "X-Cache: MISS")
	up.Kill()

	var stale *harness.Answer
	until(t, func() error { // fresh for a second yet
		stale = post(t, w.URL+runPath, `{}`, "Origin: http://app.example")
		if x := stale.Header.Get("X-Cache"); x != "STALE" {
			return fmt.Errorf("X-Cache is %q, expected STALE\n%s", x, stale)
		}
		return nil
	})
	expect(t, stale, 200, "X-Cache-Tier: memory", "Age: *", "Access-Control-Allow-Origin: http://app.example")
	sameBody(t, stale, miss)

	// What is not stored can't be served.
	for _, a := range []*harness.Answer{
		post(t, w.URL+runPath, `{"mode":"OO"}`),
		post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: 1"),
		get(t, w.URL+"/api/status"),
	} {
		expect(t, a, 502, "Content-Type: application/json; charset=utf-8", "Age:")
		expectBody(t, a, []byte(unavailable))
	}
	status, ready, err := harness.Ready(w.URL)
	ok(t, err)
	if status != 200 || ready.Upstream != "down" {
		t.Fatalf("readyz says %d, upstream %q; expected 200 (something can be served) and down", status, ready.Upstream)
	}

	u, err := url.Parse(up.URL)
	ok(t, err)
	ownUpstream(t, harness.Env{"PORT": u.Port(), "DATA_DIR": up.DataDir})
	until(t, func() error {
		a := post(t, w.URL+runPath, `{}`)
		if x := a.Header.Get("X-Cache"); a.Status != 200 || x != "MISS" {
			return fmt.Errorf("the server is back and X-Cache is %q, expected MISS\n%s", x, a)
		}
		return nil
	})
}

func TestNothingIsServedStalePastItsTime(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, nil)
	w := warmfront(t, up.URL, harness.Env{"CACHE_TTL": "300ms", "STALE_TTL": "0s"})
	expect(t, get(t, w.URL+"/api/candles/SPY?limit=60"), 200, "X-Cache: MISS")
	up.Kill()
	until(t, func() error {
		a := get(t, w.URL+"/api/candles/SPY?limit=60")
		if a.Status == 200 && a.Header.Get("Age") != "0" {
			t.Fatalf("served a second after CACHE_TTL=300ms with STALE_TTL=0s\n%s", a)
		}
		if a.Status != 502 {
			return fmt.Errorf("expected 502\n%s", a)
		}
		expectBody(t, a, []byte(unavailable))
		return nil
	})
}

func TestStaleAnswersComeFromRedisToo(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, nil), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "CACHE_TTL": "1s", "STALE_TTL": "1h"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	miss := get(t, one.URL+"/api/candles/SPY?limit=60")
	expect(t, miss, 200, "X-Cache: MISS")
	up.Kill()
	until(t, func() error { // or it would take a fresh answer to its memory
		_, ready, err := harness.Ready(two.URL)
		if err == nil && ready.Upstream != "down" {
			err = fmt.Errorf("upstream is %q", ready.Upstream)
		}
		return err
	})
	until(t, func() error {
		a := get(t, two.URL+"/api/candles/SPY?limit=60")
		if x := a.Header.Get("X-Cache"); x != "STALE" || a.Header.Get("X-Cache-Tier") != "redis" {
			return fmt.Errorf("X-Cache is %q, expected STALE from redis\n%s", x, a)
		}
		sameBody(t, a, miss)
		return nil
	})
}

func TestServerThatDoesNotAnswerInTimeIs504(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"UPSTREAM_TIMEOUT": "2s"})
	for _, c := range []struct{ name, body, header, outcome string }{
		{"to be kept", `{}`, "X-Nothing: 1", "PASS"},
		{"bypassed", `{}`, "X-Cache-Bypass: 1", "BYPASS"},
		{"refreshed", `{}`, "X-Cache-Bypass: refresh", "REFRESH"},
		{"not keyed", `{"mode":"CC","mode":"OO"}`, "X-Nothing: 1", "PASS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			override(t, up, harness.Override{Method: "POST", Path: runPath, Hang: true, Times: 1})
			a := post(t, w.URL+runPath, c.body, c.header)
			expect(t, a, 504, "X-Cache: "+c.outcome)
			expectBody(t, a, []byte(unavailable))
			if a.Took < 1900*time.Millisecond || a.Took > time.Minute {
				t.Fatalf("504 after %v, expected it after 2 s\n%s", a.Took, a)
			}
		})
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
}

func TestAnswerThatBreaksOffIsBrokenForTheClientAndNotKept(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	whole := canned(strings.Repeat("x", 4000))
	announced := and(asJSON, "Content-Length", strconv.Itoa(len(whole)))
	for name, c := range map[string]struct {
		path   string
		header map[string]string
	}{
		"intercepted, announced":    {runPath, announced},
		"intercepted, chunked":      {runPath, asJSON},
		"passed through, announced": {"/echo", announced},
		"passed through, chunked":   {"/echo", asJSON},
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, up.Reset())
			w := warmfront(t, up.URL, nil)
			override(t, up, harness.Override{Method: "POST", Path: c.path, Status: 200, Headers: c.header, Body: whole, BreakAfter: 1000})
			a, err := harness.Send(limit(t), client(t), harness.Request{Method: "POST", URL: w.URL + c.path, Body: []byte(`{}`)})
			if err == nil && a.Broken == nil {
				t.Fatalf("half an answer came as a whole one\n%s", a)
			}
			again := post(t, w.URL+c.path, `{}`)
			expect(t, again, 200)
			if c.path == runPath {
				expect(t, again, 200, "X-Cache: MISS") // nothing was kept
				reached(t, up, runRoute, 2)
			}
		})
	}
}

func TestServerThatIsNotThereYetDoesNotHinderTheStart(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	address := free.Addr().String()
	ok(t, free.Close())
	w := launched(t, "http://"+address, nil)
	a := get(t, w.URL+"/api/candles/SPY?limit=60")
	expect(t, a, 502)
	expectBody(t, a, []byte(unavailable))
	status, ready, err := harness.Ready(w.URL)
	ok(t, err)
	if status != 503 || ready.DataDate != nil {
		t.Fatalf("readyz says %d, dataDate %v; expected 503 and null", status, ready.DataDate)
	}
	_, port, err := net.SplitHostPort(address)
	ok(t, err)
	ownUpstream(t, harness.Env{"PORT": port})
	until(t, func() error {
		if a := get(t, w.URL+"/api/candles/SPY?limit=60"); a.Header.Get("X-Cache") != "HIT" {
			return fmt.Errorf("the server came and nothing hits\n%s", a)
		}
		return nil
	})
}
