package warm

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
)

var noon = time.Date(2026, 1, 14, 12, 0, 0, 0, time.UTC)

// keepers runs a test on a journal in memory and on one in Redis.
func keepers(t *testing.T, limit, limitBytes int, test func(t *testing.T, k keeper)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemoryKeeper(limit, limitBytes)) })
	t.Run("redis", func(t *testing.T) {
		_, client := realRedis(t)
		test(t, newRedisKeeper(client, "test:", limit, limitBytes))
	})
}

// used notes uses of a request as the journal would, at a time.
func usedAt(t *testing.T, k keeper, at time.Time, id string, uses int64, took time.Duration) {
	t.Helper()
	u := []use{{id: id, uses: uses, took: took}}
	missing, err := k.touch(t.Context(), at, u)
	ok(t, err)
	if len(missing) == 1 {
		packed, err := pack(&asked{Method: "GET", Target: "/api/candles/" + url.PathEscape(id)})
		ok(t, err)
		ok(t, k.add(t.Context(), at, u, [][]byte{packed}))
	}
}

func keptIDs(t *testing.T, k keeper, at time.Time) (ids []string) {
	t.Helper()
	all, err := k.load(t.Context(), at)
	ok(t, err)
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestLeastValuableGivesWayFirst(t *testing.T) {
	keepers(t, 3, 1<<20, func(t *testing.T, k keeper) {
		usedAt(t, k, noon, "often", 10, 50*time.Millisecond)
		usedAt(t, k, noon, "dear", 1, 2*time.Second)
		usedAt(t, k, noon, "cheap", 2, 10*time.Millisecond)
		usedAt(t, k, noon, "new", 1, 100*time.Millisecond)
		if got := keptIDs(t, k, noon); !slices.Equal(got, []string{"dear", "new", "often"}) {
			t.Fatalf("kept %q, expected the one that spares the least to be gone", got)
		}
	})
}

func TestOldUsesCountLessThanNewOnes(t *testing.T) {
	keepers(t, 2, 1<<20, func(t *testing.T, k keeper) {
		usedAt(t, k, noon, "then", 10, time.Second)
		later := noon.Add(7 * halfLife)
		usedAt(t, k, later, "now", 1, time.Second)
		usedAt(t, k, later, "also", 1, 2*time.Second)
		if got := keptIDs(t, k, later); !slices.Equal(got, []string{"also", "now"}) {
			t.Fatalf("kept %q, expected what was used ten times a long time ago to be gone", got)
		}
	})
}

func TestWhatNobodyRepeatsIsForgotten(t *testing.T) {
	keepers(t, 10, 1<<20, func(t *testing.T, k keeper) {
		usedAt(t, k, noon, "old", 1, time.Second)
		usedAt(t, k, noon.Add(time.Hour), "young", 1, time.Second)
		if got := keptIDs(t, k, noon.Add(journalTTL+time.Minute)); !slices.Equal(got, []string{"young"}) {
			t.Fatalf("kept %q, expected what was last used over 30 days ago to be gone", got)
		}
		if n, err := k.size(t.Context()); err != nil || n != 1 {
			t.Fatalf("%d are kept (%v), expected 1", n, err)
		}
	})
}

func TestTheJournalIsBoundedInBytes(t *testing.T) {
	one, err := pack(&asked{Method: "GET", Target: "/api/candles/A00"})
	ok(t, err)
	keepers(t, 1000, 10*len(one)+len(one)/2, func(t *testing.T, k keeper) {
		for i := range 30 {
			usedAt(t, k, noon, fmt.Sprintf("A%02d", i), int64(i+1), time.Second)
		}
		got := keptIDs(t, k, noon)
		if len(got) > 10 || len(got) < 9 || got[len(got)-1] != "A29" {
			t.Fatalf("kept %q, expected the ten most valuable at most", got)
		}
	})
}

func TestForgottenAndDroppedMakeRoom(t *testing.T) {
	keepers(t, 5, 1<<20, func(t *testing.T, k keeper) {
		for i := range 5 {
			usedAt(t, k, noon, fmt.Sprintf("A%d", i), 1, time.Second)
		}
		ok(t, k.drop(t.Context(), []string{"A1", "A3", "unknown"}))
		usedAt(t, k, noon, "B0", 1, time.Millisecond)
		usedAt(t, k, noon, "B1", 1, time.Millisecond)
		if got := keptIDs(t, k, noon); !slices.Equal(got, []string{"A0", "A2", "A4", "B0", "B1"}) {
			t.Fatalf("kept %q", got)
		}
	})
}

func TestBothKeepersScoreAlike(t *testing.T) {
	_, client := realRedis(t)
	memory, shared := newMemoryKeeper(50, 1<<20), newRedisKeeper(client, "test:", 50, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	at := noon
	for range 300 {
		at = at.Add(time.Duration(r.IntN(1000)) * time.Minute)
		id, uses, took := fmt.Sprintf("T%d", r.IntN(40)), int64(1+r.IntN(5)), time.Duration(r.IntN(2000))*time.Millisecond
		for _, k := range []keeper{memory, shared} {
			usedAt(t, k, at, id, uses, took)
		}
	}
	byID := func(k keeper) map[string]Entry {
		all, err := k.load(t.Context(), at)
		ok(t, err)
		m := map[string]Entry{}
		for _, e := range all {
			m[e.ID] = e
		}
		return m
	}
	one, two := byID(memory), byID(shared)
	if len(one) != len(two) {
		t.Fatalf("%d in memory, %d in Redis", len(one), len(two))
	}
	for id, a := range one {
		b := two[id]
		if a.Uses != b.Uses || math.Abs(a.Score-b.Score) > 1e-6 || (a.Took-b.Took).Abs() > time.Microsecond || a.Last.Unix() != b.Last.Unix() {
			t.Errorf("%s is %+v in memory, %+v in Redis", id, a, b)
		}
	}
}

func TestRequestsOfOneMeaningAreOneEntry(t *testing.T) {
	l := newLoop(newWorld(), nil)
	known(t, l,
		note(t, "POST", "/api/backtest", `{"payload":"{\"id\":\"node-1\",\"kind\":\"x\"}"}`, 100*time.Millisecond),
		note(t, "POST", "/api/backtest", `{"payload":{"kind":"x","id":"node-2"},"costBps":5}`, 0))
	known(t, l, note(t, "POST", "/api/backtest", `{"payload":"{\"id\":\"node-3\",\"kind\":\"x\"}"}`, 0))
	all, err := l.journal.keeper.load(t.Context(), time.Now())
	ok(t, err)
	if len(all) != 1 || all[0].Uses != 3 || all[0].Took != 100*time.Millisecond {
		t.Fatalf("the journal holds %+v, expected one request with 3 uses", all)
	}
}

func TestForcedRunIsRememberedAsAPlainOne(t *testing.T) {
	l := newLoop(newWorld(), nil)
	known(t, l, note(t, "POST", "/api/bots/b/run-backtest", `{"forceRefresh":true,"mode":"OO"}`, time.Second))
	all, err := l.journal.keeper.load(t.Context(), time.Now())
	ok(t, err)
	a, err := unpack(all[0].packed)
	ok(t, err)
	if strings.Contains(a.Body, "forceRefresh") || !strings.Contains(a.Body, `"OO"`) {
		t.Fatalf("it would be replayed as %s", a.Body)
	}
}

func TestQueryThatCouldHoldACredentialIsNotRemembered(t *testing.T) {
	l := newLoop(newWorld(), nil)
	known(t, l,
		note(t, "GET", "/api/candles/SPY?limit=60&token=secret", "", 0),
		note(t, "POST", "/api/bots/b/run-backtest?userId=u", `{}`, 0),
		note(t, "GET", "/api/benchmarks/metrics?tickers=SPY&startDate=2020-01-01", "", 0))
	all, err := l.journal.keeper.load(t.Context(), time.Now())
	ok(t, err)
	if len(all) != 1 {
		t.Fatalf("the journal holds %d requests, expected the one without foreign parameters", len(all))
	}
	if n := testutil.ToFloat64(l.metrics.forgot.WithLabelValues("query")); n != 2 {
		t.Fatalf("%v counted as not remembered, expected 2", n)
	}
}

func TestAFullQueueDropsAndCountsInsteadOfWaiting(t *testing.T) {
	l := newLoop(newWorld(), nil)
	n := note(t, "POST", "/api/bots/b/run-backtest", `{}`, 0)
	for range maxNotes + 7 {
		l.Note(n)
	}
	if got := testutil.ToFloat64(l.metrics.forgot.WithLabelValues("busy")); got != 7 {
		t.Fatalf("%v dropped, expected 7", got)
	}
	large := Note{Request: n.Request, Method: "POST", Target: n.Target, Body: make([]byte, maxNoted)}
	l.journal.flush(t.Context())
	l.Note(large)
	l.Note(n)
	l.Note(large)
	if got := testutil.ToFloat64(l.metrics.forgot.WithLabelValues("busy")); got != 8+1 {
		t.Fatalf("%v dropped, expected 9: the queue is bounded in bytes", got)
	}
}

func TestAJournalOfZeroRemembersNothing(t *testing.T) {
	l := newLoop(newWorld(), nil, func(o *Options) { o.Journal = 0 })
	known(t, l, note(t, "POST", "/api/bots/b/run-backtest", `{}`, 0))
	if n, _ := l.journal.keeper.size(t.Context()); n != 0 {
		t.Fatalf("%d are remembered", n)
	}
}

func TestARequestThatIsTooLargeIsCounted(t *testing.T) {
	noise := make([]byte, 2<<20)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(noise)
	l := newLoop(newWorld(), nil)
	known(t, l, note(t, "POST", "/api/bots/b/run-backtest", `{"x":"`+fmt.Sprintf("%x", noise)+`"}`, 0))
	if got := testutil.ToFloat64(l.metrics.forgot.WithLabelValues("too-large")); got != 1 {
		t.Fatalf("%v counted, expected 1", got)
	}
}

func TestTheJournalInRedisHasATTLAndIsInOneSlot(t *testing.T) {
	_, client := realRedis(t)
	k := newRedisKeeper(client, "test:", 10, 1<<20)
	usedAt(t, k, noon, "A", 1, time.Second)
	keys, err := client.Keys(t.Context(), "*").Result()
	ok(t, err)
	for _, key := range keys {
		ttl, err := client.PTTL(t.Context(), key).Result()
		ok(t, err)
		if !strings.HasPrefix(key, "test:{warm}:") || ttl <= 0 || ttl > journalTTL {
			t.Errorf("%s lives for %v, expected a key of the journal's own and at most %v", key, ttl, journalTTL)
		}
	}
	if len(keys) != 3 {
		t.Errorf("keys %q, expected 3", keys)
	}
}

func TestAPartThatRedisEvictedIsAddedAgain(t *testing.T) {
	for i, part := range []string{"scores", "facts", "requests"} {
		t.Run(part, func(t *testing.T) {
			_, client := realRedis(t)
			k := newRedisKeeper(client, "test:", 10, 1<<20)
			usedAt(t, k, noon, "A", 1, time.Second)
			usedAt(t, k, noon, "B", 1, time.Second)
			ok(t, client.Del(t.Context(), k.keys[i]).Err())
			usedAt(t, k, noon, "A", 1, time.Second)
			if got := keptIDs(t, k, noon); !slices.Contains(got, "A") {
				t.Fatalf("kept %q, expected what was used since", got)
			}
		})
	}
}

func TestAJournalThatCannotBeWrittenIsCounted(t *testing.T) {
	r, client := realRedis(t)
	r.Kill()
	l := newLoop(newWorld(), nil, func(o *Options) { o.Redis = client })
	l.Note(note(t, "POST", "/api/bots/b/run-backtest", `{}`, 0))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.journal.flush(ctx)
	if got := testutil.ToFloat64(l.metrics.forgot.WithLabelValues("redis")); got != 1 {
		t.Fatalf("%v counted, expected 1", got)
	}
}

func TestNotesAreWrittenWhenTheLoopEnds(t *testing.T) {
	leakless(t)
	j := &Journal{keeper: newMemoryKeeper(10, 1<<20), log: zap.NewNop(), metrics: newMetrics(nil)}
	j.Note(note(t, "POST", "/api/bots/b/run-backtest", `{}`, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.run(ctx)
	if n, _ := j.keeper.size(t.Context()); n != 1 {
		t.Fatalf("%d are kept, expected 1", n)
	}
}

func TestWeightsAddUpWhateverTheirAge(t *testing.T) {
	w := used(3, noon).and(used(5, noon))
	if got := math.Exp2(float64(w) - age(noon)); math.Abs(got-8) > 1e-6 {
		t.Errorf("3 and 5 uses at once are %v", got)
	}
	w = used(4, noon).and(used(1, noon.Add(halfLife)))
	if got := math.Exp2(float64(w) - age(noon.Add(halfLife))); math.Abs(got-3) > 1e-6 {
		t.Errorf("4 uses a half-life ago and 1 now are %v, expected 3", got)
	}
}
