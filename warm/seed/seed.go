// Package seed does the server's nightly jobs for it: candles, indicators and correlations, under the
// keys that the server's own cache layer reads (contract, section "Redis, as the server's own...").
//
// Three shapes of keys are written, plain strings of JSON that live for a day: candles:{ticker},
// indicator:{ticker}:{metric}:{period} and correlation:{a}:{b}. Each job computes a whole set. Its
// values are staged under Warmfront's own prefix and take the server's names when all of them are
// there, so that a job that ends early (stopped, Redis gone or full) leaves the set of the night before
// as it was. What the new set no longer has goes last, and only if it has one of the three shapes.
package seed

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// A Seeder runs the jobs. Two runs of the same job must not overlap: the caller holds a lease.
type Seeder struct {
	redis    redis.UniversalClient
	prefix   string
	database string
	log      *zap.Logger

	maxStaged int // bytes; what Redis may hold twice of the candles
}

// New gives a Seeder that writes to rdb, staging under prefix, and for correlations to the Postgres at
// databaseURL as well. Without a Redis (nil) only Postgres is written, without a URL only Redis.
//
// No command carries more than about a megabyte, but a client whose timeouts are meant for single reads
// is too impatient for that: hand in one of its own with timeouts of seconds.
func New(rdb redis.UniversalClient, prefix, databaseURL string, log *zap.Logger) *Seeder {
	return &Seeder{redis: rdb, prefix: prefix, database: databaseURL, log: log, maxStaged: maxStaged}
}

// Progress is told how much of a job is done, from one goroutine at a time. It may be nil.
type Progress func(done, total int)

func (p Progress) tell(done, total int) {
	if p != nil {
		p(done, total)
	}
}

// A Report says what became of a job. It is meaningful beside an error, too.
type Report struct {
	Written int            `json:"written"` // values under the server's names in Redis
	Rows    int            `json:"rows"`    // rows in nexus_correlations
	Skipped int            `json:"skipped"` // files, indicators or pairs left out
	Reasons map[string]int `json:"reasons"` // why; the counts add up to Skipped
	Removed int            `json:"removed"` // keys of an earlier run that are no longer in the set
	Bytes   int64          `json:"bytes"`   // of the values written
	Took    time.Duration  `json:"took"`
}

func (r *Report) skip(reason string, n int) {
	if n == 0 {
		return
	}
	if r.Reasons == nil {
		r.Reasons = map[string]int{}
	}
	r.Skipped += n
	r.Reasons[reason] += n
}

var errNoRedis = errors.New("seed: no Redis to write to")

// finish completes a report and logs it.
func (s *Seeder) finish(job string, r *Report, started time.Time, err error) {
	r.Took = time.Since(started)
	fields := []zap.Field{
		zap.String("job", job), zap.Int("written", r.Written), zap.Int("rows", r.Rows), zap.Int("skipped", r.Skipped),
		zap.Any("reasons", r.Reasons), zap.Int("removed", r.Removed), zap.Duration("took", r.Took),
	}
	if err == nil {
		s.log.Info("seed job done", fields...)
	} else {
		s.log.Info("seed job ended early", fields...) // the caller has the error
	}
}

// parallel works on the items on every core and hands each result to take, which runs in the caller's
// goroutine. No more results wait than there are workers. It returns when its goroutines have ended.
func parallel[T, R any](ctx context.Context, items []T, work func(T) R, take func(R) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var g errgroup.Group
	results := make(chan R)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return nil
				}
				select {
				case results <- work(items[i]):
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	}
	ended := make(chan error, 1)
	go func() {
		err := g.Wait()
		close(results)
		ended <- err
	}()
	var refused error
	for r := range results {
		if ctx.Err() != nil {
			continue // the workers are on their way out
		}
		if refused = take(r); refused != nil {
			cancel(refused)
		}
	}
	if err := <-ended; refused == nil {
		return err
	}
	return refused
}
