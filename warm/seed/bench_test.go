package seed

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// BenchmarkCorrelations shows how the time of all pairs grows, for curves over the same days and for such
// that begin at ten different days. The sizes take turns, so that all of them see the same machine, and the
// best of several rounds counts, in processor time: what else runs must not tell. growth is the time of a
// pair and day over that of the first size; where it stays near 1, time grows as pairs × days.
func BenchmarkCorrelations(b *testing.B) {
	const rounds = 5
	sizes := [][2]int{{250, 2500}, {250, 5000}, {500, 2500}, {500, 5000}, {1000, 2500}, {1000, 5000}}
	for _, kind := range []struct {
		name   string
		starts int
	}{{"same days", 1}, {"ten calendars", 10}} {
		most := benchCurves(1000, 5000, kind.starts)
		best, wall, pairs := map[[2]int]time.Duration{}, map[[2]int]time.Duration{}, map[[2]int]int{}
		for range rounds {
			for _, size := range sizes {
				curves := slices.Clone(most[:size[0]])
				for i := range curves {
					n := len(curves[i].Days)
					curves[i].Days, curves[i].Equity = curves[i].Days[:min(n, size[1])], curves[i].Equity[:min(n, size[1])]
				}
				runtime.GC()
				pairs[size] = 0
				cpu, started := processorTime(b), time.Now()
				var r Report
				ok(b, pairwise(b.Context(), prepare(curves, &r), nil, func(t *tile) error {
					pairs[size] += len(t.pairs)
					return nil
				}))
				took, cpu := time.Since(started), processorTime(b)-cpu
				if best[size] == 0 || cpu < best[size] {
					best[size] = cpu
				}
				if wall[size] == 0 || took < wall[size] {
					wall[size] = took
				}
			}
		}
		each := func(size [2]int) float64 {
			return float64(best[size].Nanoseconds()) / float64(pairs[size]) / float64(size[1])
		}
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%d bots/%d days", kind.name, size[0], size[1]), func(b *testing.B) {
				for b.Loop() { // measured above
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(pairs[size]), "pairs")
				b.ReportMetric(best[size].Seconds(), "cpu-s")
				b.ReportMetric(wall[size].Seconds(), "wall-s")
				b.ReportMetric(each(size)/each(sizes[0]), "growth")
			})
		}
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	ok(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
