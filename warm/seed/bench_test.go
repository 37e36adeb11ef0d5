package seed

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// BenchmarkCorrelations shows how the time of all pairs grows, for curves over the same days and for such
// that begin at different days. The last column is the time of a pair and day, over that of the smallest
// case: where it stays near 1, time grows as pairs × days.
func BenchmarkCorrelations(b *testing.B) {
	for _, kind := range []struct {
		name   string
		starts int
	}{{"same days", 1}, {"ten calendars", 10}} {
		smallest := 0.0
		for _, size := range [][2]int{{250, 2500}, {250, 5000}, {500, 2500}, {500, 5000}, {1000, 2500}, {1000, 5000}} {
			bots, days := size[0], size[1]
			b.Run(fmt.Sprintf("%s/%d bots/%d days", kind.name, bots, days), func(b *testing.B) {
				curves := benchCurves(bots, days, kind.starts)
				best := time.Duration(math.MaxInt64) // of all runs: the others were disturbed
				pairs := 0
				b.ReportAllocs()
				for b.Loop() {
					pairs = 0
					started := time.Now()
					var r Report
					ok(b, pairwise(b.Context(), prepare(curves, &r), nil, func(t *tile) error {
						pairs += len(t.pairs)
						return nil
					}))
					best = min(best, time.Since(started))
				}
				each := float64(best.Nanoseconds()) / float64(pairs) / float64(days)
				if smallest == 0 {
					smallest = each
				}
				b.ReportMetric(float64(pairs), "pairs")
				b.ReportMetric(best.Seconds(), "s/best")
				b.ReportMetric(each/smallest, "growth")
			})
		}
	}
}

// BenchmarkCorrelationsWritten is the whole job of 1 000 bots × 5 000 days, into a real Redis and a real
// Postgres, with the most memory that it held at a time besides the curves.
func BenchmarkCorrelationsWritten(b *testing.B) {
	r, err := lab.StartRedis()
	ok(b, err)
	defer r.Stop()
	pg, err := lab.StartPostgres()
	ok(b, err)
	defer pg.Stop()
	rdb := redis.NewClient(&redis.Options{Addr: r.Address, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second})
	defer rdb.Close()
	curves := benchCurves(1000, 5000, 1)
	s := New(rdb, "warmfront:", pg.URL, zap.NewNop())
	before := heap(true)
	most := before
	for b.Loop() {
		report, err := s.Correlations(b.Context(), curves, func(done, _ int) { most = max(most, heap(false)) })
		ok(b, err)
		if report.Written != 499_500 || report.Rows != 499_500 {
			b.Fatalf("%+v", report)
		}
	}
	runtime.KeepAlive(curves)
	b.ReportMetric(float64(before)/(1<<20), "MiB-of-curves")
	b.ReportMetric(float64(most-before)/(1<<20), "MiB-besides")
}

func heap(collect bool) uint64 {
	if collect {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
