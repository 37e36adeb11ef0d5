package test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"warmfront/test/harness"
)

// stalled are requests whose bodies never come, to what would count for all routes, for all bots, or for nothing.
var stalled = []string{
	"POST /api/admin/sync-schedule/run-now", "POST /api/admin/cache/refresh", "POST /api/admin/cache/invalidate", "POST /api/download", "POST /api/bots",
	"PUT /api/bots/bot-7", "PUT /api/bots/bot-7/metrics", "POST /nope/bots", "POST /api/waitlist/join", "POST /api/migrate/user-data",
	"POST /api/bots/bot-7/run-backtest?odd",
}

// stall sends the beginning of each, of what the server's body parser reads and of what it skips.
func stall(t *testing.T, url string) (leave func()) {
	t.Helper()
	var leaving []func() error
	for _, request := range stalled {
		for _, header := range []string{
			"Content-Type: application/json\r\nContent-Length: 9", "Content-Type: application/json\r\nTransfer-Encoding: chunked",
			"Content-Type: application/json;\r\nContent-Length: 9", "X-Cache-Bypass: 1\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked",
		} {
			c := dial(t, url)
			body := `{"a"`
			if strings.Contains(header, "chunked") {
				body = "4\r\n{\"a\"\r\n"
			}
			_, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", request, header, body)
			ok(t, err)
			leaving = append(leaving, c.Close)
		}
	}
	return func() {
		for _, leave := range leaving {
			_ = leave()
		}
	}
}

func TestAStalledRequestToRunNowLeavesOtherRoutesAlone(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	calls, err := up.Calls(t.Context())
	ok(t, err)
	for _, c := range calls {
		_, err := harness.Send(limit(t), client(t), c.Request(one.URL))
		ok(t, err)
	}
	hits := func(when string) {
		t.Helper()
		for _, w := range []*harness.Server{one, two} {
			_, ready, err := harness.Ready(w.URL)
			ok(t, err)
			if ready.Provisional {
				t.Fatalf("%s: the data became provisional", when)
			}
			for _, c := range calls {
				// A replica may lose touch with Redis for a moment; what is in doubt would be so for a minute.
				until(t, func() error {
					a, err := harness.Send(limit(t), client(t), c.Request(w.URL))
					if err == nil && a.Header.Get("X-Cache") != "HIT" {
						err = fmt.Errorf("%s: %s is %s, expected a hit as before\n%s", when, c.Name, a.Header.Get("Cache-Status"), a)
					}
					return err
				})
			}
		}
	}
	hits("before")
	leave := stall(t, one.URL)
	hits("while sockets are stalled")

	// Ten clicks are one backtest, as ever: the server's answer takes long enough for all to come before it.
	before, err := up.Counts()
	ok(t, err)
	override(t, up, harness.Override{Method: "POST", Path: runPath, AnswerDelayMS: 1000})
	var clicks sync.WaitGroup
	for range 10 {
		clicks.Go(func() { post(t, one.URL+runPath, `{"costBps":33}`) })
	}
	clicks.Wait()
	reached(t, up, runRoute, before.Routes[runRoute]+1)

	leave()
	hits("after the clients have left")
	after, err := up.Counts()
	ok(t, err)
	for _, route := range []string{"POST /api/download", "POST /api/bots", "POST /api/admin/sync-schedule/run-now"} {
		if after.Routes[route] != before.Routes[route] {
			t.Errorf("%s reached the server: %v", route, after.Routes)
		}
	}
}

// A body that the server's parser skips is no reason for its handler to wait: the header alone must not get there first.
func TestWriteWithABodyThatTheServerDoesNotReadIsHeardOfFirst(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"SYNC_DURATION_MS": "60000"}), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	c := dial(t, one.URL)
	_, err := io.WriteString(c, "POST /api/download HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nab")
	ok(t, err)
	expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: MISS")
	until(t, func() error {
		if a := post(t, one.URL+runPath, `{}`); a.Header.Get("X-Cache") != "HIT" {
			return fmt.Errorf("the body is not whole, and this no hit\n%s", a)
		}
		return nil
	})
	reached(t, up, "POST /api/download", 0)
	_, err = io.WriteString(c, "cd")
	ok(t, err)
	until(t, func() error {
		_, ready, err := harness.Ready(two.URL)
		if err == nil && !ready.Provisional {
			err = fmt.Errorf("the other replica does not know of the download")
		}
		return err
	})
	reached(t, up, "POST /api/download", 1)
}

func TestRefusedWriteMakesNothingProvisional(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, path := range []string{"/api/download", "/api/admin/sync-schedule/run-now", "/api/admin/sync-schedule/kill", "/api/admin/cache/invalidate", "/api/admin/cache/refresh"} {
		for body, header := range map[string]string{"{": "application/json", "{}": "application/json; charset=latin1", `{"a":1}`: "application/json"} {
			if path == "/api/download" && body == `{"a":1}` {
				continue // anybody may start that
			}
			a := raw(t, one.URL, sentOverASocket(path, body, "Content-Type: "+header))
			if a.Status/100 != 4 {
				t.Fatalf("expected the server's refusal\n%s", a)
			}
			for _, w := range []*harness.Server{one, two} {
				_, ready, err := harness.Ready(w.URL)
				ok(t, err)
				if ready.Provisional {
					t.Fatalf("%s with %q was answered %d, and made the data provisional", path, body, a.Status)
				}
				expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
			}
		}
	}
	reached(t, up, runRoute, 1)
}

// The router refuses this visibility with an HTML page.
func TestRefusedWriteToABotLeavesNothingInDoubt(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
	expect(t, send(t, "PUT", one.URL+"/api/bots/bot-7", []byte(`{"ownerId":"user-a","visibility":"nexus_eligible"}`)), 400)
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	}
	reached(t, up, runRoute, 1)
}

// The waiting list's routes delete private bots without tags (trap 24); Express answers HEAD with the handler of GET.
func TestBotThatAHiddenWriteHasDeletedIsNotServed(t *testing.T) {
	t.Parallel()
	for _, hidden := range [][2]string{{"GET", "/api/waitlist/stats"}, {"HEAD", "/API/waitlist/stats/"}, {"POST", "/api/waitlist/join"}} {
		up, r := upstream(t), redisServer(t)
		env := harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"}
		one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
		expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
		expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: HIT")
		var body []byte
		if hidden[0] == "POST" {
			body = []byte(`{}`)
		}
		if a := send(t, hidden[0], one.URL+hidden[1], body); a.Status/100 != 2 {
			t.Fatalf("expected success\n%s", a)
		}
		for _, w := range []*harness.Server{two, one} {
			expect(t, post(t, w.URL+runPath, `{}`), 404)
		}
	}
}
