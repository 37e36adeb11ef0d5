package test

import (
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// A Redis that answers PING may refuse everything else: the log and readyz say what to do, and requests go on.
func TestRedisThatRefusesIsNamedAndCountsAsAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuse [][]any // commands
		why    string
	}{
		"no scripts":      {[][]any{{"ACL", "SETUSER", "default", "-@scripting"}}, "its user may not"},
		"no such keys":    {[][]any{{"ACL", "SETUSER", "default", "resetkeys", "~other:*"}}, "its user may not"},
		"a replica":       {[][]any{{"REPLICAOF", "127.0.0.1", "1"}}, "REDIS_URL must lead to the primary"},
		"full":            {[][]any{{"CONFIG", "SET", "maxmemory", "1"}}, "raise its maxmemory"},
		"asks a password": {[][]any{{"CONFIG", "SET", "requirepass", "open sesame"}, {"CLIENT", "KILL", "TYPE", "normal"}}, "write it into REDIS_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, r := upstream(t), redisServer(t)
			w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
			until(t, redisState(w, "up"))
			rdb := dialRedis(t, r)
			for _, command := range c.refuse {
				ok(t, rdb.Do(limit(t), command...).Err())
			}
			n := 100
			until(t, func() error {
				n++
				served(t, w, n)
				return redisIs(w, "down", c.why)
			})
			until(t, func() error {
				if !strings.Contains(w.Output(), c.why) {
					return fmt.Errorf("the log does not say %q", c.why)
				}
				return nil
			})
			if said := strings.Count(w.Output(), c.why); said != 1 {
				t.Errorf("the log says it %d times, expected once a minute", said)
			}
		})
	}
}

func TestRedisWithoutChannelsIsUsedAndSaidToLackThem(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	ok(t, dialRedis(t, r).Do(limit(t), "ACL", "SETUSER", "default", "resetchannels").Err())
	one := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"})
	two := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "1h"})
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
	old := post(t, two.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: HIT", "X-Cache-Tier: redis")
	edit(t, up, one.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	if now := post(t, two.URL+runPath, `{}`); curve(t, now) == curve(t, old) {
		t.Fatalf("the old backtest\n%s", now)
	}
	until(t, func() error { return redisIs(one, "up", "channels") })
}

func TestNodeOfAClusterSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	r, err := lab.StartRedisCluster()
	ok(t, err)
	t.Cleanup(r.Stop)
	// Half the slots are another node's: whoever names one node only is told to ask elsewhere.
	rdb := dialRedis(t, r)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	until(t, redisState(w, "up"))
	served(t, w, 100)
	ok(t, rdb.Do(limit(t), "CONFIG", "SET", "cluster-require-full-coverage", "no").Err())
	ok(t, rdb.Do(limit(t), "CLUSTER", "DELSLOTSRANGE", 0, 16383).Err())
	n := 100
	until(t, func() error {
		n++
		served(t, w, n)
		return redisIs(w, "down", "cluster")
	})
}

// redisIs is nil when readyz says so, and why.
func redisIs(w *harness.Server, state, why string) error {
	_, ready, err := harness.Ready(w.URL)
	if err == nil && (ready.Redis != state || !strings.Contains(ready.RedisWhy, why)) {
		err = fmt.Errorf("readyz says redis is %q because %q, expected %q because of %q", ready.Redis, ready.RedisWhy, state, why)
	}
	return err
}
