package test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"warmfront/test/harness"
)

// quick is what a request with a broken Redis may take on a slow machine when the server itself needs next to nothing: less than a hung Redis would take.
const quick = 10 * time.Second

// served asks for candles that nobody asked for yet, and again: both must come, in good time.
func served(t *testing.T, w *harness.Server, number int) {
	t.Helper()
	url := fmt.Sprintf("%s/api/candles/TLT?limit=%d", w.URL, number)
	for _, want := range []string{"MISS", "HIT"} {
		a := get(t, url)
		expect(t, a, 200, "X-Cache: "+want)
		if a.Took > quick {
			t.Fatalf("took %v with Redis in trouble, expected less than %v\n%s", a.Took, quick, a)
		}
	}
}

// goesOn: asked for twice, what number stands for is given quickly, kept or not.
func goesOn(t *testing.T, w *harness.Server, number int) {
	t.Helper()
	for range 2 {
		a := get(t, fmt.Sprintf("%s/api/candles/TLT?limit=%d", w.URL, number))
		expect(t, a, 200)
		if a.Took > quick {
			t.Fatalf("took %v with Redis in trouble, expected less than %v\n%s", a.Took, quick, a)
		}
	}
}

func redisState(w *harness.Server, want string) func() error {
	return func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && ready.Redis != want {
			err = fmt.Errorf("readyz says redis is %q, expected %q", ready.Redis, want)
		}
		return err
	}
}

func TestRequestsGoOnWithoutRedisAtTheStartAndRedisIsTakenUpLater(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	r := redisServer(t)
	port := r.Port
	r.Kill()
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	for i := range 8 {
		served(t, w, 100+i)
	}
	until(t, redisState(w, "down"))

	back, err := lab.StartRedisAt(port)
	ok(t, err)
	t.Cleanup(back.Stop)
	other := warmfront(t, up.URL, harness.Env{"REDIS_URL": back.URL()})
	n := 200
	until(t, func() error {
		n++
		goesOn(t, w, n) // while it compares what it saw alone with what the other says it keeps nothing
		return shares(t, other, n)
	})
	until(t, redisState(w, "up"))
}

// shares is nil when another replica finds in Redis what number stands for.
func shares(t *testing.T, w *harness.Server, number int) error {
	t.Helper()
	a := get(t, fmt.Sprintf("%s/api/candles/TLT?limit=%d", w.URL, number))
	if a.Header.Get("X-Cache-Tier") != "redis" {
		return fmt.Errorf("not shared\n%s", a)
	}
	return nil
}

func TestRequestsGoOnWhenRedisIsKilled(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	served(t, w, 100)
	r.Kill()
	expect(t, get(t, w.URL+"/api/candles/TLT?limit=100"), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
	for i := range 10 {
		served(t, w, 101+i)
	}
	until(t, redisState(w, "down"))
	status, _, err := harness.Ready(w.URL)
	ok(t, err)
	if status != 200 {
		t.Fatalf("readyz says %d because Redis is down, expected 200", status)
	}
}

func TestRequestsGoOnWhenRedisHangs(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	w, other := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	served(t, w, 100)
	ok(t, r.Signal(syscall.SIGSTOP))
	for i := range 10 {
		goesOn(t, w, 101+i)
	}
	ok(t, r.Signal(syscall.SIGCONT))
	n := 200
	until(t, func() error { // the breaker closes by itself
		n++
		goesOn(t, w, n)
		return shares(t, other, n)
	})
}

func TestRedisThatRefusesWritesStillServesReads(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	w := warmfront(t, up.URL, env)
	for i := range 50 {
		served(t, w, 100+i)
	}
	rdb := dialRedis(t, r)
	ok(t, rdb.ConfigSet(limit(t), "maxmemory", "1").Err()) // full, and nothing may be evicted
	for i := range 10 {
		served(t, w, 200+i)
	}
	other := warmfront(t, up.URL, env)
	n := 99 // a read may take more than it is given: what is asked for next was not asked for yet
	until(t, func() error { n++; return shares(t, other, n) })
}

func TestWrongRedisPasswordIsNoReasonToFail(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": "redis://:sesame-open@" + r.Address})
	for i := range 8 {
		served(t, w, 100+i)
	}
	if strings.Contains(w.Output(), "sesame-open") {
		t.Fatal("the log tells the password of Redis")
	}
}

func dialRedis(t *testing.T, r *harness.Redis) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: r.Address})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// onlyKey is the one key of Warmfront in Redis that pattern matches.
func onlyKey(ctx context.Context, t *testing.T, c *goredis.Client, pattern string) string {
	t.Helper()
	keys, err := c.Keys(ctx, pattern).Result()
	ok(t, err)
	if len(keys) != 1 {
		t.Fatalf("Redis holds %q under %s, expected one key", keys, pattern)
	}
	return keys[0]
}

func TestDamagedOrForeignValueInRedisIsAMissAndOverwritten(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	ctx := limit(t)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Times: 100, Status: 200, Headers: asJSON, Body: canned(strings.Repeat("z", 3000))})
	first := post(t, warmfront(t, up.URL, env).URL+runPath, `{}`)
	expect(t, first, 200, "X-Cache: MISS")
	rdb := dialRedis(t, r)
	key := onlyKey(ctx, t, rdb, "warmfront:backtest:bot-7:*")
	good, err := rdb.Get(ctx, key).Bytes()
	ok(t, err)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string]string{
		"a bit flipped": string(flipped), "truncated": string(good[:len(good)-9]), "empty": "", "longer": string(good) + "x",
		"foreign JSON": `{"success":true}`, "another version": "WFE9" + string(good[4:]),
		"a huge length": string(good[:4]) + "\xff\xff\xff\xff" + string(good[8:]),
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, rdb.Set(ctx, key, bad, time.Hour).Err())
			repaired(t, up, env, first)
		})
	}
	t.Run("another type", func(t *testing.T) {
		ok(t, rdb.Del(ctx, key).Err())
		ok(t, rdb.LPush(ctx, key, "a", "b").Err())
		repaired(t, up, env, first)
	})
	t.Run("the value of another key", func(t *testing.T) {
		expect(t, post(t, warmfront(t, up.URL, env).URL+runPath, `{"mode":"OO"}`), 200, "X-Cache: MISS")
		keys, err := rdb.Keys(ctx, "warmfront:backtest:bot-7:*").Result()
		ok(t, err)
		for _, other := range keys {
			if other != key {
				value, err := rdb.Get(ctx, other).Bytes()
				ok(t, err)
				ok(t, rdb.Set(ctx, key, value, time.Hour).Err())
			}
		}
		repaired(t, up, env, first)
	})
}

// repaired: a Warmfront that finds a bad value asks the server, and the next one finds a good value.
func repaired(t *testing.T, up *harness.Upstream, env harness.Env, want *harness.Answer) {
	t.Helper()
	for _, tier := range []string{"upstream", "redis"} {
		a := post(t, warmfront(t, up.URL, env).URL+runPath, `{}`)
		expect(t, a, 200, "X-Cache-Tier: "+tier)
		sameBody(t, a, want)
	}
}

func TestValuesInRedisHaveATTL(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, nil), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "CACHE_TTL": "1h", "STALE_TTL": "30m", "PROVISIONAL_TTL": "0s"})
	expect(t, get(t, w.URL+"/api/candles/TLT?limit=100"), 200, "X-Cache: MISS")
	ok(t, up.Sync("append", 100)) // what follows is provisional, and kept for no time at all
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && !ready.Provisional {
			err = fmt.Errorf("the sync has not been noticed yet")
		}
		return err
	})
	for range 3 { // the sync may be going on, and what is asked across a change is not kept either
		expect(t, get(t, w.URL+"/api/candles/TLT?limit=100"), 200)
		expect(t, post(t, w.URL+runPath, `{}`), 200)
	}
	rdb := dialRedis(t, r)
	keys, err := rdb.Keys(limit(t), "*").Result()
	ok(t, err)
	for _, key := range keys {
		ttl, err := rdb.TTL(limit(t), key).Result()
		ok(t, err)
		if !strings.HasPrefix(key, "warmfront:") || ttl <= 0 || ttl > 90*time.Minute {
			t.Errorf("%s lives for %v, expected a key of Warmfront's own with at most 1h30m", key, ttl)
		}
	}
	if len(keys) == 0 {
		t.Error("nothing is in Redis")
	}
}
