package seed

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/test/harness"
)

func startRedis(t *testing.T) (*harness.Redis, *redis.Client) {
	t.Helper()
	r, err := lab.StartRedis()
	ok(t, err)
	t.Cleanup(r.Stop)
	c := redis.NewClient(&redis.Options{Addr: r.Address, DialerRetries: 1, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return r, c
}

// content is every string in Redis by its key, but for Warmfront's own.
func content(t *testing.T, c redis.Cmdable) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys, err := c.Keys(t.Context(), "*").Result()
	ok(t, err)
	for _, key := range keys {
		if kind := c.Type(t.Context(), key).Val(); kind == "string" {
			all[key] = c.Get(t.Context(), key).Val()
		} else {
			all[key] = kind
		}
	}
	return all
}

func priceDir(t *testing.T, tickers ...string) string {
	t.Helper()
	dir, content := t.TempDir(), parquetOf(t, priceColumns())
	for _, ticker := range tickers {
		ok(t, os.WriteFile(filepath.Join(dir, ticker+".parquet"), content, 0o600))
	}
	return dir
}

func seeder(c redis.UniversalClient) *Seeder { return New(c, "warmfront:", "", zap.NewNop()) }

func TestOnlyWhatAnEarlierRunWroteGoes(t *testing.T) {
	_, c := startRedis(t)
	foreign := map[string]string{
		"candles:SPY:1d": "x", "candles": "x", "candlesticks:SPY": "x", "warmfront:candles:-": "x", "backtest:b:h:d": "x",
		"indicator:SPY:Max Drawdown:10": "x", "indicator:SPY:RSI:ten": "x", "correlation:a": "x", "correlation:a:b:c": "x", "sanity:b:h:d": "x",
	}
	for key, value := range foreign {
		ok(t, c.Set(t.Context(), key, value, 0).Err())
	}
	ok(t, c.LPush(t.Context(), "candles:LIST", "x").Err())
	foreign["candles:LIST"] = "list"
	for _, old := range []string{"candles:OLD", "candles:QQQ", "indicator:OLD:RSI:14", "correlation:a:old", "correlation:b:a"} {
		ok(t, c.Set(t.Context(), old, "old", time.Hour).Err())
	}
	s := seeder(c)
	dir := priceDir(t, "SPY", "QQQ")
	ok(t, os.WriteFile(filepath.Join(dir, "BROKEN.parquet"), []byte("PAR1"), 0o600))
	ok(t, os.WriteFile(filepath.Join(dir, "SPY.parquet.new"), nil, 0o600))
	report, err := s.Candles(t.Context(), dir, nil)
	ok(t, err)
	if report.Written != 2 || report.Skipped != 1 || report.Reasons[unreadable] != 1 || report.Removed != 1 || report.Bytes != int64(2*len(threeCandles)) {
		t.Errorf("candles: %+v", report)
	}
	report, err = s.Indicators(t.Context(), dir, slices.Values([][]byte{[]byte(`{"conditions":[{"ticker":"SPY","metric":"SMA","window":2},{"ticker":"BROKEN","metric":"SMA","window":2}]}`)}), nil)
	ok(t, err)
	if report.Written != 1 || report.Reasons[unreadable] != 1 || report.Removed != 1 {
		t.Errorf("indicators: %+v", report)
	}
	random := rand.New(rand.NewPCG(1, 1))
	report, err = s.Correlations(t.Context(), []Curve{curve("b", random, 0, 50), curve("a", random, 0, 50), curve("c", random, 0, 5)}, nil)
	ok(t, err)
	if report.Written != 1 || report.Reasons[tooFewDays] != 2 || report.Removed != 2 {
		t.Errorf("correlations: %+v", report)
	}
	got := content(t, c)
	if got["indicator:SPY:SMA:2"] != "[null,1.75,2.75]" || got["candles:SPY"] != threeCandles || got["candles:QQQ"] != threeCandles {
		t.Errorf("Redis holds %v", got)
	}
	if rho := got["correlation:a:b"]; !strings.HasPrefix(rho, "0.") {
		t.Errorf("the correlation is %q", rho)
	}
	for _, key := range []string{"indicator:SPY:SMA:2", "candles:SPY", "candles:QQQ", "correlation:a:b"} {
		if ttl := c.TTL(t.Context(), key).Val(); ttl > 24*time.Hour || ttl < 24*time.Hour-time.Minute {
			t.Errorf("%s lives for %v", key, ttl)
		}
		delete(got, key)
	}
	if !maps.Equal(got, foreign) {
		t.Errorf("what is not ours is %v, expected %v", got, foreign)
	}
	stats := c.Info(t.Context(), "commandstats").Val()
	if strings.Contains(stats, "cmdstat_del:") || strings.Contains(stats, "cmdstat_flush") {
		t.Errorf("commands that block Redis: %s", stats)
	}
}

func TestRunThatHasNothingToWriteRemovesNothing(t *testing.T) {
	_, c := startRedis(t)
	for _, key := range []string{"candles:SPY", "indicator:SPY:RSI:14", "correlation:a:b"} {
		ok(t, c.Set(t.Context(), key, "old", 0).Err())
	}
	s := seeder(c)
	dir := priceDir(t)
	ok(t, os.WriteFile(filepath.Join(dir, "SPY.parquet"), []byte("PAR1"), 0o600))
	_, err := s.Candles(t.Context(), dir, nil)
	ok(t, err)
	_, err = s.Indicators(t.Context(), dir, slices.Values([][]byte{}), nil)
	ok(t, err)
	_, err = s.Correlations(t.Context(), nil, nil)
	ok(t, err)
	if got := content(t, c); len(got) != 3 {
		t.Errorf("Redis holds %v", got)
	}
}

// jobs are the three with a progress callback in the middle.
func jobs(s *Seeder, dir string) map[string]func(ctx context.Context, p Progress) error {
	tree := `{"conditions":[{"ticker":"SPY","metric":"SMA","window":2},{"ticker":"QQQ","metric":"RSI","window":1},{"ticker":"TLT","metric":"RSI","window":1}]}`
	random := rand.New(rand.NewPCG(1, 1))
	var curves []Curve
	for i := range 100 {
		curves = append(curves, curve(fmt.Sprint("bot-", i), random, 0, 50))
	}
	return map[string]func(ctx context.Context, p Progress) error{
		"candles": func(ctx context.Context, p Progress) error {
			_, err := s.Candles(ctx, dir, p)
			return err
		},
		"indicators": func(ctx context.Context, p Progress) error {
			_, err := s.Indicators(ctx, dir, slices.Values([][]byte{[]byte(tree)}), p)
			return err
		},
		"correlations": func(ctx context.Context, p Progress) error {
			_, err := s.Correlations(ctx, curves, p)
			return err
		},
	}
}

func TestRunThatEndsEarlyLeavesTheOldSetAsItWas(t *testing.T) {
	dir := priceDir(t, "SPY", "QQQ", "TLT")
	for name, broken := range map[string]func(c *redis.Client, cancel func()){
		"stopped": func(_ *redis.Client, cancel func()) { cancel() },
		"full":    func(c *redis.Client, _ func()) { _ = c.ConfigSet(context.Background(), "maxmemory", "1").Err() },
	} {
		_, c := startRedis(t)
		s := seeder(c)
		s.maxStaged = 1 << 20
		for job, run := range jobs(s, dir) {
			old := map[string]string{"candles:SPY": "old", "candles:GONE": "old", "indicator:SPY:SMA:2": "old", "correlation:bot-1:bot-2": "old", "correlation:x:y": "old"}
			ok(t, c.FlushAll(t.Context()).Err())
			for key, value := range old {
				ok(t, c.Set(t.Context(), key, value, 0).Err())
			}
			ctx, cancel := context.WithCancel(t.Context())
			err := run(ctx, func(done, total int) {
				if done >= total/2 {
					broken(c, cancel)
				}
			})
			cancel()
			ok(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())
			if err == nil {
				t.Errorf("%s, %s: no error", name, job)
			}
			if got := content(t, c); !maps.Equal(got, old) {
				t.Errorf("%s, %s: Redis holds %d keys, expected %v", name, job, len(got), old)
			}
		}
	}
}

func TestRunEndsWithAnErrorWhenRedisDies(t *testing.T) {
	for job := range jobs(nil, "") {
		r, c := startRedis(t)
		s := seeder(c)
		var once sync.Once
		err := jobs(s, priceDir(t, "SPY", "QQQ", "TLT"))[job](t.Context(), func(int, int) { once.Do(r.Kill) })
		if err == nil {
			t.Errorf("%s: no error", job)
		}
	}
}

func TestWhatAnAbortedRunLeftIsClearedByTheNext(t *testing.T) {
	_, c := startRedis(t)
	ok(t, c.Set(t.Context(), "warmfront:seed:{candles:GONE}", "staged", 0).Err())
	ok(t, c.Set(t.Context(), "warmfront:seed:{indicator:GONE:RSI:1}", "staged", 0).Err())
	_, err := seeder(c).Candles(t.Context(), priceDir(t, "SPY"), nil)
	ok(t, err)
	want := []string{"candles:SPY", "warmfront:seed:{indicator:GONE:RSI:1}"}
	if got := slices.Sorted(maps.Keys(content(t, c))); !slices.Equal(got, want) {
		t.Errorf("Redis holds %q, expected %q", got, want)
	}
}

func TestKeysOfEvictedStagedValuesAreNotKept(t *testing.T) {
	_, c := startRedis(t)
	ok(t, c.Set(t.Context(), "candles:B", "old", 0).Err())
	w, err := seeder(c).newSet(t.Context(), "candles")
	ok(t, err)
	for _, key := range []string{"candles:A", "candles:B"} {
		ok(t, w.put(t.Context(), key, []byte("new")))
	}
	ok(t, w.flush(t.Context()))
	ok(t, c.Del(t.Context(), w.stagedName("candles:B")).Err())
	gone, err := w.switchOver(t.Context(), slices.Values([]string{"candles:A", "candles:B"}))
	ok(t, err)
	if !slices.Equal(gone, []string{"candles:B"}) || c.Get(t.Context(), "candles:A").Val() != "new" {
		t.Errorf("gone are %q; Redis holds %v", gone, content(t, c))
	}
}

func TestJobsWorkOnAClusterWhereNoCommandMayCrossSlots(t *testing.T) {
	r, err := lab.StartRedisCluster()
	ok(t, err)
	t.Cleanup(r.Stop)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{r.Address}})
	t.Cleanup(func() { _ = c.Close() })
	s := seeder(c)
	for _, key := range []string{"candles:OLD", "indicator:OLD:RSI:14", "correlation:a:b"} {
		ok(t, c.Set(t.Context(), key, "old", 0).Err())
	}
	for job, run := range jobs(s, priceDir(t, "SPY", "QQQ", "TLT")) {
		if err := run(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", job, err)
		}
	}
	got := content(t, c)
	if len(got) != 3+3+100*99/2 || got["candles:TLT"] != threeCandles || got["candles:OLD"] != "" {
		t.Errorf("the cluster holds %d keys", len(got))
	}
}

func TestReaderFindsAValueWhileTheSetIsRefreshed(t *testing.T) {
	_, c := startRedis(t)
	s := seeder(c)
	s.maxStaged = 1 // every value a portion of its own: as many switches as can be
	dir := priceDir(t, "A", "B", "C", "D", "E")
	if _, err := s.Candles(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			if got, err := c.Get(t.Context(), "candles:C").Result(); err != nil || got != threeCandles {
				t.Errorf("a reader found %q, %v", got, err)
				return
			}
		}
	})
	for range 20 {
		if _, err := s.Candles(t.Context(), dir, nil); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wait.Wait()
}

// pipelines notes the most bytes of arguments that one pipeline carried.
type pipelines struct{ most int }

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		size := 0
		for _, c := range commands {
			for _, arg := range c.Args() {
				if b, ok := arg.([]byte); ok {
					size += len(b)
				}
			}
		}
		p.most = max(p.most, size)
		return next(ctx, commands)
	}
}

func TestLargeValuesTravelWithFewOthers(t *testing.T) {
	_, c := startRedis(t)
	var p pipelines
	c.AddHook(&p)
	w, err := seeder(c).newSet(t.Context(), "candles")
	ok(t, err)
	for i, size := range []int{700 << 10, 700 << 10, 1 << 10, 700 << 10, 2 << 20, 1 << 10} {
		ok(t, w.put(t.Context(), fmt.Sprint("candles:", i), make([]byte, size)))
	}
	ok(t, w.flush(t.Context()))
	if p.most != 2<<20 { // the one that is larger than a pipeline goes alone
		t.Errorf("a pipeline carried %d bytes", p.most)
	}
}

func TestStagedValuesOfARunThatEndsEarlyGo(t *testing.T) {
	_, c := startRedis(t)
	var tickers []string
	for i := range batchCommands + 50 {
		tickers = append(tickers, fmt.Sprint("T", i))
	}
	dir := priceDir(t, tickers...)
	ctx, cancel := context.WithCancel(t.Context())
	staged := false
	_, err := seeder(c).Candles(ctx, dir, func(done, _ int) {
		if done == batchCommands+40 {
			staged = len(content(t, c)) > 0
			cancel()
		}
	})
	if got := content(t, c); err == nil || !staged || len(got) > 0 {
		t.Errorf("%v; staged: %v; Redis holds %d keys", err, staged, len(got))
	}
}
