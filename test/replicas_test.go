package test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"warmfront/test/harness"
)

// replicas are two Warmfronts that share a Redis and never ask for a revision again by themselves.
func replicas(t *testing.T, up *harness.Upstream, env harness.Env) (one, two *harness.Server, r *harness.Redis) {
	t.Helper()
	r = redisServer(t)
	all := harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"}
	for name, value := range env {
		all[name] = value
	}
	return warmfront(t, up.URL, all), warmfront(t, up.URL, all), r
}

func TestWriteThroughOneReplicaIsKnownToTheOtherWhenItIsAnswered(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	for i := range 6 {
		writer, reader := one, two
		if i%2 > 0 {
			writer, reader = two, one
		}
		expect(t, post(t, reader.URL+runPath, `{}`), 200)
		old := post(t, reader.URL+runPath, `{}`)
		expect(t, old, 200, "X-Cache: HIT")
		edit(t, up, writer.URL, "bot-7", map[string]any{"payload": payload(t, up, fmt.Sprintf("bot-%d", 7+i%2+1))})
		now := post(t, reader.URL+runPath, `{}`)
		if curve(t, now) == curve(t, old) {
			t.Fatalf("edit %d: the other replica serves the old backtest\n%s", i, now)
		}
	}
}

func TestDeletedAndRestoredBotIsKnownToTheOtherReplica(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: MISS")
	owner, _ := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/bot-7")).Bot["ownerId"].(string)
	expect(t, send(t, "DELETE", one.URL+"/api/bots/bot-7?ownerId="+owner, nil), 200)
	expect(t, post(t, two.URL+runPath, `{}`), 404, "X-Cache: PASS")
	expect(t, post(t, one.URL+"/api/bots/bot-7/restore?ownerId="+owner, `{}`), 200)
	expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: HIT")
}

func TestAnswerComputedAcrossAnEditIsNotKept(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	before := payload(t, up, "bot-7")
	other := payload(t, up, "bot-9")
	override(t, up, harness.Override{Method: "POST", Path: runPath, Times: 1, DelayMS: 700})
	var slow *harness.Answer
	var wg sync.WaitGroup
	wg.Go(func() {
		slow, _ = harness.Send(limit(t), client(t), harness.Request{Method: http.MethodPost, URL: one.URL + runPath, Body: []byte(`{}`)})
	})
	until(t, func() error {
		got, err := up.Requests("POST", runPath)
		if err == nil && len(got) == 0 {
			err = fmt.Errorf("the run has not reached the server")
		}
		return err
	})
	// Edited while it waits, and back: by content nothing has changed at its end.
	edit(t, up, two.URL, "bot-7", map[string]any{"payload": other})
	edit(t, up, two.URL, "bot-7", map[string]any{"payload": before})
	wg.Wait()
	expect(t, slow, 200, "X-Cache: PASS")
	expectCacheStatus(t, slow, "revision-changed")
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
}

func TestWriteThatTimesOutCountsAsAWrite(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: MISS")
	old := post(t, two.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: HIT")
	// The server takes its time, the writer leaves, the write is applied all the same.
	override(t, up, harness.Override{Method: "PUT", Path: "/api/bots/bot-7", Times: 1, AnswerDelayMS: 1500})
	saved := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/bot-7")).Bot
	body := fmt.Sprintf(`{"ownerId":%q,"name":"x","payload":%s}`, saved["ownerId"], harness.Quote(payload(t, up, "bot-9")))
	impatient := client(t)
	impatient.Timeout = 300 * 1e6
	_, err := harness.Send(limit(t), impatient, harness.Request{Method: "PUT", URL: one.URL + "/api/bots/bot-7", Body: []byte(body)})
	if err == nil {
		t.Fatal("the write was answered in time: this test shows nothing")
	}
	until(t, func() error {
		if bot := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/bot-7")).Bot; bot["name"] != "x" {
			return fmt.Errorf("the write was not applied yet: %v", bot["name"])
		}
		return nil
	})
	for _, w := range []*harness.Server{one, two} {
		if now := post(t, w.URL+runPath, `{}`); curve(t, now) == curve(t, old) {
			t.Fatalf("the old backtest\n%s", now)
		}
	}
}

func TestTheOnlyReplicaGoesOnWithItsMemoryWhenItIsCutOff(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"})
	old := post(t, w.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: MISS")
	ok(t, r.Signal(syscall.SIGSTOP))
	defer func() { ok(t, r.Signal(syscall.SIGCONT)) }()
	for range 5 {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
	}
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	now := post(t, w.URL+runPath, `{}`)
	expect(t, now, 200, "X-Cache: MISS")
	if curve(t, now) == curve(t, old) {
		t.Fatalf("the old backtest\n%s", now)
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
}

func TestRunOfABotCountsForItsCorrelations(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	bots := `{"botIds":["bot-1","bot-2"],"metric":"volatility","maxWeight":1}`
	path := "/api/correlation/optimize"
	for _, id := range []string{"bot-1", "bot-2"} {
		expect(t, post(t, one.URL+"/api/bots/"+id+"/run-backtest", `{}`), 200)
	}
	expect(t, post(t, two.URL+path, bots), 200, "X-Cache: MISS")
	old := post(t, two.URL+path, bots)
	expect(t, old, 200, "X-Cache: HIT")
	// Another variant leaves other metrics with the bot.
	expect(t, post(t, one.URL+"/api/bots/bot-1/run-backtest", `{"mode":"OO","costBps":50}`), 200, "X-Cache: MISS")
	now := post(t, two.URL+path, bots)
	expect(t, now, 200, "X-Cache: MISS")
	if string(body(t, now)) == string(body(t, old)) {
		t.Fatalf("the metrics changed nothing: this test shows nothing\n%s", now)
	}
	expect(t, post(t, two.URL+runPath, `{}`), 200)
	// A write of metrics counts too, and not for a backtest.
	expect(t, post(t, two.URL+"/api/bots/bot-2/run-backtest", `{}`), 200, "X-Cache: HIT")
	expect(t, send(t, "PUT", one.URL+"/api/bots/bot-2/metrics", []byte(`{"volatility":0.9}`)), 200)
	expect(t, post(t, two.URL+path, bots), 200, "X-Cache: MISS")
	expect(t, post(t, two.URL+"/api/bots/bot-2/run-backtest", `{}`), 200, "X-Cache: HIT")
}

func TestSyncStartedThroughOneReplicaMakesAnswersProvisionalOnBoth(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50"})
	one, two, _ := replicas(t, up, harness.Env{"SYNC_SETTLE": "1h", "DATA_DATE_INTERVAL": "1h"})
	candles := "/api/candles/XLE?limit=70"
	expect(t, get(t, two.URL+candles), 200, "X-Cache: MISS")
	expect(t, get(t, two.URL+candles), 200, "X-Cache: HIT")
	started := post(t, one.URL+"/api/download", `{"mode":"recent"}`)
	expect(t, started, 200)
	for _, w := range []*harness.Server{two, one} {
		a := get(t, w.URL+candles)
		expect(t, a, 200)
		if a.Header.Get("X-Cache") == "HIT" && !strings.Contains(a.Header.Get("Cache-Status"), "provisional") {
			t.Fatalf("after a sync was started, an answer from before\n%s", a)
		}
		_, ready, err := harness.Ready(w.URL)
		ok(t, err)
		if !ready.Provisional {
			t.Fatalf("readyz does not say provisional after a sync was started: %+v", ready)
		}
	}
}

func TestDownloadJobThatPassedEndsTheProvisionalTime(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50", "SYNC_DURATION_MS": "600"})
	one, two, _ := replicas(t, up, harness.Env{"SYNC_SETTLE": "1h"})
	expect(t, post(t, one.URL+"/api/download", `{"mode":"recent"}`), 200)
	for _, w := range []*harness.Server{one, two} {
		until(t, func() error {
			_, ready, err := harness.Ready(w.URL)
			if err == nil && (ready.Provisional || ready.DataDate == nil || *ready.DataDate == "2026-01-14") {
				err = fmt.Errorf("still provisional, or at the old date: %+v", ready)
			}
			return err
		})
	}
	a := get(t, one.URL+"/api/candles/XLE?limit=70")
	expect(t, a, 200)
	sameBody(t, a, get(t, up.URL+"/api/candles/XLE?limit=70"))
	// The first fill after it is computed afresh: a row that was made in between may mix prices.
	expect(t, post(t, two.URL+runPath, `{}`), 200)
	got, err := up.Requests("POST", runPath)
	ok(t, err)
	if forced := `{"forceRefresh":true}`; len(got) != 1 || got[0].BodyLength <= 2 {
		t.Fatalf("the first fill in the new generation was sent as %+v, expected one with %s", got, forced)
	}
}

var adminLogin = harness.Env{"UPSTREAM_EMAIL": "admin@example.com", "UPSTREAM_PASSWORD": "admin-password"}

func TestServerIsClearedOnceAfterASyncByOneReplica(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "50"})
	env := harness.Env{"SYNC_SETTLE": "1h"}
	for name, value := range adminLogin {
		env[name] = value
	}
	one, two, _ := replicas(t, up, env)
	before, err := up.Counts() // once at the start, for what nobody saw
	ok(t, err)
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
	ok(t, up.Sync("append", 500)) // in the server's own scheduler
	for _, w := range []*harness.Server{one, two} {
		until(t, func() error {
			_, ready, err := harness.Ready(w.URL)
			if err == nil && (ready.Provisional || ready.DataDate == nil || *ready.DataDate == "2026-01-14") {
				err = fmt.Errorf("still provisional, or at the old date: %+v", ready)
			}
			return err
		})
	}
	c, err := up.Counts()
	ok(t, err)
	const clearing = "POST /api/admin/cache/invalidate"
	if n := c.Routes[clearing] - before.Routes[clearing]; n != 2 || before.Routes[clearing] != 2 {
		t.Fatalf("the server's rows were cleared %d times at the start and %d times after the sync, expected twice each, before its price databases and after; %v", before.Routes[clearing], n, c.Routes)
	}
	a := post(t, two.URL+runPath, `{}`)
	expect(t, a, 200, "X-Cache: MISS")
	if !strings.Contains(curve(t, a), "2026-01-15") || strings.Contains(a.Header.Get("Cache-Status"), "provisional") {
		t.Fatalf("after the clearing the backtest does not reach the new date, or is provisional\n%s", a)
	}
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: redis")
}

func TestAdminsClearingClearsEveryReplica(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	login := post(t, up.URL+"/api/auth/login", `{"email":"admin@example.com","password":"admin-password"}`)
	admin := "Authorization: Bearer " + parsed[struct{ AccessToken string }](t, login).AccessToken
	other := "/api/bots/bot-8/run-backtest"
	warm := func() {
		t.Helper()
		for _, w := range []*harness.Server{one, two} {
			for _, path := range []string{runPath, other} {
				until(t, func() error {
					if a := post(t, w.URL+path, `{}`); a.Header.Get("X-Cache") != "HIT" {
						return fmt.Errorf("no hit yet\n%s", a)
					}
					return nil
				})
			}
		}
	}
	// What is not kept any more is asked for: by MISS, or by PASS until two has read that the clearing is over.
	is := func(path, want string) {
		t.Helper()
		if want == "MISS" {
			if a := post(t, two.URL+path, `{}`); a.Status != 200 || a.Header.Get("X-Cache") == "HIT" {
				t.Fatalf("an answer from before the clearing\n%s", a)
			}
			return
		}
		until(t, func() error {
			if a := post(t, two.URL+path, `{}`); a.Header.Get("X-Cache") != want || a.Header.Get("X-Cache-Tier") != "memory" {
				return fmt.Errorf("expected %s from memory\n%s", want, a)
			}
			return nil
		})
	}
	warm()
	expect(t, post(t, one.URL+"/api/admin/cache/invalidate", `{}`), 401)
	warm() // while it was under way the server was asked
	for _, w := range []*harness.Server{one, two} {
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
	}
	expect(t, post(t, one.URL+"/api/admin/cache/invalidate", `{"botId":"bot-7"}`, admin), 200)
	is(runPath, "MISS")
	is(other, "HIT")
	warm()
	expect(t, post(t, one.URL+"/api/admin/cache/invalidate", `{}`, admin), 200)
	is(runPath, "MISS")
	is(other, "MISS")
	warm()
	expect(t, post(t, one.URL+"/api/admin/cache/refresh", `{}`, admin), 200)
	is(runPath, "MISS")
}
