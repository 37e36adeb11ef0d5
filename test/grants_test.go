package test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"warmfront/test/harness"
)

// callers are users of a server that protects its bots: a owns bot-7, b does not.
func callers(t *testing.T, up *harness.Upstream) (a, b string) {
	t.Helper()
	token := func(user string) string {
		login := post(t, up.URL+"/api/auth/login", `{"email":"`+user+`@example.com","password":"password-`+user+`"}`)
		expect(t, login, 200)
		return "Authorization: Bearer " + parsed[struct{ AccessToken string }](t, login).AccessToken
	}
	return token("a"), token("b")
}

// protecting waits until a Warmfront knows that its server asks for credentials.
func protecting(t *testing.T, url string, env harness.Env) *harness.Server {
	t.Helper()
	w := launched(t, url, env)
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && (ready.DataDate == nil || ready.Upstream != "up") {
			err = fmt.Errorf("not ready: %+v", ready)
		}
		return err
	})
	return w
}

func TestStoredAnswerServesOnlyWhomTheServerHasLetHaveIt(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"}), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := protecting(t, up.URL, env), protecting(t, up.URL, env)
	a, b := callers(t, up)
	miss := post(t, one.URL+runPath, `{}`, a)
	expect(t, miss, 200, "X-Cache: MISS")
	hit := post(t, one.URL+runPath, `{}`, a)
	expect(t, hit, 200, "X-Cache: HIT")
	sameBody(t, hit, miss)

	refused := post(t, up.URL+runPath, `{}`, b)
	for name, header := range map[string][]string{
		"another": {b}, "with the ETag": {b, "If-None-Match: " + hit.Header.Get("ETag")}, "any ETag": {b, "If-None-Match: *"},
		"for its key": {b, "X-Cache-Debug: 1"}, "with the owner's as a cookie": {b, "Cookie: " + a},
	} {
		for _, w := range []*harness.Server{one, two} {
			got := post(t, w.URL+runPath, `{}`, header...)
			expect(t, got, 403, "X-Cache: PASS", "X-Cache-Key:", "ETag: "+refused.Header.Get("ETag"))
			if string(body(t, got)) != string(body(t, refused)) {
				t.Errorf("%s: not the server's own refusal\n%s", name, got)
			}
		}
	}
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`), 401, "X-Cache: PASS")
	}
	// The owner's grant is good on every replica.
	expect(t, post(t, two.URL+runPath, `{}`, a), 200, "X-Cache: HIT", "X-Cache-Tier: redis")
	reached(t, up, runRoute, 1+1+10+2)
}

func TestGrantEndsWithARefusalOnEveryReplicaAtOnce(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"}), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false"} // which asks for the bot, and would be refused instead
	one, two := protecting(t, up.URL, env), protecting(t, up.URL, env)
	a, _ := callers(t, up)
	for name, refuse := range map[string]func(){
		"of the same": func() { expect(t, post(t, one.URL+runPath, `{}`, a, "X-Cache-Bypass: 1"), 403) },
		"of a read":   func() { expect(t, get(t, one.URL+"/api/bots/bot-7", a), 403) },
		"of a write":  func() { expect(t, send(t, "PUT", one.URL+"/api/bots/bot-7", []byte(`{}`), a), 403) },
		"of a fill":   func() { expect(t, post(t, one.URL+runPath, `{"mode":"OO"}`, a, "X-Cache-Bypass: refresh"), 403) },
	} {
		t.Run(name, func(t *testing.T) {
			until(t, func() error {
				for _, w := range []*harness.Server{one, two} {
					if got := post(t, w.URL+runPath, `{}`, a); got.Header.Get("X-Cache") != "HIT" {
						return fmt.Errorf("no hit yet\n%s", got)
					}
				}
				return nil
			})
			override(t, up, harness.Override{Path: "/api/bots/bot-7", Times: 1, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
			refuse()
			override(t, up, harness.Override{Method: "POST", Path: runPath, Times: 2, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
			for _, w := range []*harness.Server{one, two} {
				expect(t, post(t, w.URL+runPath, `{}`, a), 403, "X-Cache: PASS")
			}
			ok(t, up.NoOverrides())
		})
	}
}

func TestACallUnderWayIsNotSharedWithWhoHasNoGrant(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"})
	w := protecting(t, up.URL, nil)
	a, b := callers(t, up)
	var wg sync.WaitGroup
	for i := range 12 {
		who, want := a, 200
		if i%2 > 0 {
			who, want = b, 403
		}
		wg.Go(func() {
			got, err := harness.Send(limit(t), client(t), harness.Request{Method: http.MethodPost, URL: w.URL + runPath, Header: []string{who}, Body: []byte(`{}`)})
			if err != nil || got.Status != want {
				t.Errorf("%d: expected %d, %v\n%s", i, want, err, got)
			}
		})
	}
	wg.Wait()
}

// What the loop fetches with an admin's login is the admin's, for whomever it was asked before.
func TestWhatTheWarmLoopFetchesServesOnlyWhomTheServerHasLetHaveIt(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"AUTH_BOTS": "1", "DATA_DATE_MEMORY_MS": "100"}), redisServer(t)
	one := protecting(t, up.URL, warming(harness.Env{
		"REDIS_URL": r.URL(), "UPSTREAM_EMAIL": "admin@example.com", "UPSTREAM_PASSWORD": "admin-password", "METRICS_WRITEBACK": "false",
	}))
	two := protecting(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	a, b := callers(t, up)
	request := `{"mode":"CC","costBps":7}`
	expect(t, post(t, one.URL+runPath, request, a), 200, "X-Cache: MISS")
	remembered(t, r, 1)
	expect(t, post(t, one.URL+runPath, request, a), 200, "X-Cache: HIT")
	override(t, up, harness.Override{Path: "/api/bots/bot-7", Times: 1, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
	expect(t, get(t, one.URL+"/api/bots/bot-7", a), 403) // A has been let have it for the last time
	ok(t, up.NoOverrides())
	warmNow(t, one)
	first := warmedFor(t, one, "")
	ok(t, up.Sync("append", 300))
	p := warmedFor(t, one, first.LastRun.Date)
	if p.LastRun.Warmed == 0 || p.LastRun.Failed > 0 {
		t.Fatalf("the loop has not fetched anything: %+v", *p.LastRun)
	}
	asked, err := up.Counts()
	ok(t, err)
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, request), 401, "X-Cache: PASS")
		expect(t, post(t, w.URL+runPath, request, b), 403, "X-Cache: PASS")
	}
	override(t, up, harness.Override{Method: "POST", Path: runPath, Times: 1, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
	expect(t, post(t, two.URL+runPath, request, a), 403, "X-Cache: PASS")
	now, err := up.Counts()
	ok(t, err)
	if now.Backtests != asked.Backtests {
		t.Errorf("%d backtests were run for callers who were refused", now.Backtests-asked.Backtests)
	}
	expect(t, post(t, two.URL+runPath, request, a), 200, "X-Cache: MISS")
	expect(t, post(t, two.URL+runPath, request, a), 200, "X-Cache: HIT")
}

// A server may look at the owner of the bot in a path only.
func TestWhatIsLetHaveOfSeveralBotsAtOnceSaysNothingOfEach(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"}), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false", "REVISION_INTERVAL": "1h"}
	one, two := protecting(t, up.URL, env), protecting(t, up.URL, env)
	a, b := callers(t, up)
	optimize, both := "/api/correlation/optimize", `{"botIds":["bot-7","bot-9"]}` // both A's
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`, a), 200) // its revision is known, and its answer kept
		override(t, up, harness.Override{Method: "POST", Path: optimize, Times: 1, Status: 200, Headers: asJSON, Body: `{"validBotIds":[]}`})
		expect(t, post(t, w.URL+optimize, both, b), 200)
		expect(t, post(t, w.URL+runPath, `{}`, b), 403, "X-Cache: PASS")
	}
	// A list is A's for as long as each bot in it is.
	for _, w := range []*harness.Server{one, two} {
		until(t, func() error {
			if got := post(t, w.URL+optimize, both, a); got.Header.Get("X-Cache") != "HIT" {
				return fmt.Errorf("no hit yet\n%s", got)
			}
			return nil
		})
	}
	override(t, up, harness.Override{Path: "/api/bots/bot-7", Times: 1, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
	expect(t, get(t, one.URL+"/api/bots/bot-7", a), 403)
	override(t, up, harness.Override{Method: "POST", Path: optimize, Times: 2, Status: 403, Headers: asJSON, Body: `{"error":"Forbidden"}`})
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+optimize, both, a), 403, "X-Cache: PASS")
	}
}

func TestAnswerFetchedWithoutCredentialsServesEveryone(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"})
	w := protecting(t, up.URL, nil)
	a, b := callers(t, up)
	path := "/api/candles/TLT?limit=77" // which this server leaves open
	expect(t, get(t, w.URL+path), 200, "X-Cache: MISS")
	for _, who := range []string{a, b} {
		expect(t, get(t, w.URL+path, who), 200, "X-Cache: HIT")
	}
	// And so does one to a request with credentials, on a route where those without have had success.
	path = "/api/candles/TLT?limit=78"
	expect(t, get(t, w.URL+path, a), 200, "X-Cache: MISS")
	for _, header := range [][]string{{a}, {b}, nil} {
		expect(t, get(t, w.URL+path, header...), 200, "X-Cache: HIT")
	}
}

func TestCredentialsAreKeptNowhere(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"}), redisServer(t)
	w := protecting(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "LOG_LEVEL": "debug"})
	a, _ := callers(t, up)
	cookie := "Cookie: session=s3cr3t-of-a-cookie"
	for range 2 {
		expect(t, post(t, w.URL+runPath, `{}`, a, cookie), 200)
	}
	secrets := []string{strings.TrimPrefix(a, "Authorization: Bearer "), "s3cr3t-of-a-cookie"}
	rdb := dialRedis(t, r)
	keys, err := rdb.Keys(limit(t), "*").Result()
	ok(t, err)
	all := w.Output()
	for _, key := range keys {
		dump, err := rdb.Dump(limit(t), key).Result()
		ok(t, err)
		all += key + dump
	}
	for _, s := range secrets {
		if strings.Contains(all, s) {
			t.Errorf("%q is in the log or in Redis", s)
		}
	}
	if len(keys) < 3 {
		t.Errorf("Redis holds %q only", keys)
	}
}
