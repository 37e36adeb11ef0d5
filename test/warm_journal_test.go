package test

import (
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

func TestTheJournalHoldsNoCredentialsAndNoAddresses(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, warming(harness.Env{"REDIS_URL": r.URL()}))
	for _, method := range []string{"POST"} {
		a := send(t, method, w.URL+runPath, []byte(`{"mode":"OO"}`), "Authorization: Bearer users-token", "Cookie: session=users-session", "X-Forwarded-For: 203.0.113.77")
		expect(t, a, 200)
	}
	remembered(t, r, 1)
	c := dialRedis(t, r)
	kept, err := c.HGetAll(t.Context(), "warmfront:{warm}:journal:requests").Result()
	ok(t, err)
	facts, err := c.HGetAll(t.Context(), "warmfront:{warm}:journal:facts").Result()
	ok(t, err)
	for _, secret := range []string{"users-token", "users-session", "203.0.113.77", "127.0.0.1"} {
		if strings.Contains(fmt.Sprint(kept, facts), secret) {
			t.Errorf("the journal holds %s", secret)
		}
	}
}
