package proxy

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"warmfront/test/harness"
)

func TestTheLastAnswerOfABotIsOneForAllReplicas(t *testing.T) {
	lab, err := harness.NewRedisLab()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	r, err := lab.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: r.Address})
	defer client.Close()
	reach := func() bool { return true }
	one, two := newLastAnswers(client, reach, "test:", time.Hour), newLastAnswers(client, reach, "test:", time.Hour)
	now := time.Now()
	ctx := t.Context()
	for _, c := range []struct {
		by      *lastAnswers
		variant string
		at      time.Time
		want    standing
	}{
		{one, "a", now.Add(-9 * time.Second), becameLast},
		{two, "a", now.Add(-8 * time.Second), isLastAnswer},
		{one, "b", now.Add(-8500 * time.Millisecond), answeredSince},
		{two, "b", now.Add(-7 * time.Second), becameLast},
		{one, "b", now.Add(-20 * time.Second), isLastAnswer},
		{one, "a", now.Add(-8 * time.Second), answeredSince},
	} {
		if got, refused := c.by.put(ctx, "bot", c.variant, c.at); got != c.want || refused {
			t.Errorf("%s: %v, refused %v; want %v", c.variant, got, refused, c.want)
		}
	}
	if variant, after := one.get(ctx, "bot", now.Add(-6*time.Second)); variant != "b" || after {
		t.Errorf("the last is %q, after what came after it: %v", variant, after)
	}
	if variant, after := one.get(ctx, "bot", now.Add(-9*time.Second)); variant != "b" || !after {
		t.Errorf("the last is %q, after what came before it: %v", variant, after)
	}
	two.refuse(ctx, "bot", "c")
	if got, refused := one.put(ctx, "bot", "c", now); got != becameLast || !refused {
		t.Errorf("refused metrics: %v, %v", got, refused)
	}
	// A server that takes over may be behind: what it finds in its future is not later.
	client.HSet(ctx, "test:answered:bot", "at", now.Add(time.Hour).UnixMicro())
	if got, _ := one.put(ctx, "bot", "d", time.Now()); got != becameLast {
		t.Errorf("after the clock was set back: %v", got)
	}
	var none *lastAnswers
	if got, _ := none.put(ctx, "bot", "a", now); got != unknownOrder {
		t.Errorf("without Redis: %v", got)
	}
}
