package test

import (
	"fmt"
	"testing"

	"warmfront/test/harness"
)

// hangs makes the server say nothing to such requests any more.
func hangs(t *testing.T, up *harness.Upstream, method, path string) {
	t.Helper()
	override(t, up, harness.Override{Method: method, Path: path, Times: 10_000, Hang: true})
}

func TestHitDoesNotWaitForAServerThatIsBusy(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1ms"})
	expect(t, post(t, w.URL+runPath, `{}`), 200)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	hangs(t, up, "GET", "/api/bots/")
	for range 5 {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
	}
	// A write through Warmfront is known at once: then the server is waited for.
	ok(t, up.NoOverrides())
	old := post(t, w.URL+runPath, `{}`)
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	if now := post(t, w.URL+runPath, `{}`); curve(t, now) == curve(t, old) {
		t.Fatalf("the old backtest\n%s", now)
	}
}

func TestServerThatHangsIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "0s", "UPSTREAM_TIMEOUT": "1s"})
	until(t, func() error { // a run may take longer on a slow machine
		if a := post(t, w.URL+runPath, `{}`); a.Header.Get("X-Cache") != "HIT" {
			return fmt.Errorf("not kept yet\n%s", a)
		}
		return nil
	})
	hangs(t, up, "GET", "/api/bots/")
	ran, err := up.Requests("POST", runPath)
	ok(t, err)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: STALE")
	expect(t, post(t, w.URL+"/api/bots/bot-8/run-backtest", `{}`), 504)
	now, err := up.Requests("POST", "/api/bots/")
	ok(t, err)
	if len(now) > len(ran) {
		t.Errorf("the server, which had let all of UPSTREAM_TIMEOUT go by, was asked for %d runs more", len(now)-len(ran))
	}
}

// A browser's request for JSON comes after a preflight, which the server has answered through one of the replicas.
func TestPreflightThroughOneReplicaServesTheHitOfAnother(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`), 200)
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	}
	origin := "Origin: http://app.example"
	send(t, "OPTIONS", one.URL+runPath, nil, origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
	hangs(t, up, "GET", "/api/status")
	for _, w := range []*harness.Server{one, two} {
		a := post(t, w.URL+runPath, `{}`, origin)
		expect(t, a, 200, "X-Cache: HIT", "Access-Control-Allow-Origin: http://app.example", "Access-Control-Allow-Credentials: true")
		for _, name := range []string{"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"} {
			if a.Header.Get(name) != "" {
				t.Errorf("a hit has %s, which is a preflight's\n%s", name, a)
			}
		}
	}
}

func TestHitForAnOriginThatNobodySawIsNobodyElses(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1h"})
	expect(t, post(t, w.URL+runPath, `{}`, "Origin: http://app.example"), 200)
	expect(t, post(t, w.URL+runPath, `{}`, "Origin: http://app.example"), 200, "X-Cache: HIT", "Access-Control-Allow-Origin: http://app.example")
	hangs(t, up, "GET", "/api/status")
	for _, origin := range []string{"http://localhost:5173", w.URL} {
		a := post(t, w.URL+runPath, `{}`, "Origin: "+origin)
		expect(t, a, 200, "X-Cache: HIT")
		if a.Header.Get("Access-Control-Allow-Origin") != "" || !variesBy(a, "Origin") {
			t.Errorf("%s was never seen: expected no Access-Control-Allow-Origin, and Vary: Origin\n%s", origin, a)
		}
	}
}
