package seed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

const (
	valueTTL  = 24 * time.Hour // contract: TTL 86400 s
	stagedTTL = 2 * time.Hour  // of values that wait for the rest of their set, should nobody come back for them

	// A pipeline is closed by whichever comes first. Redis does nothing else while it takes a large value
	// in, so one of half a megabyte or more travels with few others.
	batchCommands = 512
	batchBytes    = 1 << 20

	scanCount     = 1000
	batchPatience = 30 * time.Second // one pipeline, one page of a scan
	tries         = 4

	// switchPatience bounds what goes on after the job was told to stop: giving half a million staged
	// values their names takes a few seconds.
	switchPatience = 2 * time.Minute
)

// A set is one job's values on their way into Redis.
//
// RENAME rather than SET under the final name: the set is complete before its first name changes, and
// the names change within seconds, not in the minutes that computing takes. The price is that Redis
// holds both sets for a while; see maxStaged for the candles, which are the only large ones. A staged
// name has the final one between braces, which puts both into the same slot of a cluster.
type set struct {
	redis  redis.UniversalClient
	prefix string // of staged names
	kind   string
	batch  redis.Pipeliner
	bytes  int // in batch
	staged int // bytes, since the last switchOver
	total  int64
}

func (s *Seeder) newSet(ctx context.Context, kind string) (*set, error) {
	if s.redis == nil {
		return nil, errNoRedis
	}
	w := &set{redis: s.redis, prefix: s.prefix + "seed:", kind: kind, batch: s.redis.Pipeline()}
	if err := w.dropStaged(ctx); err != nil {
		return nil, fmt.Errorf("clearing what an earlier run has left: %w", err)
	}
	return w, nil
}

func (w *set) stagedName(key string) string { return w.prefix + "{" + key + "}" }

// put stages a value; it may wait in the batch for a while.
func (w *set) put(ctx context.Context, key string, value []byte) error {
	if w.bytes > 0 && w.bytes+len(value) > batchBytes {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.batch.Set(ctx, w.stagedName(key), value, stagedTTL)
	w.bytes += len(value)
	w.staged += len(value)
	w.total += int64(len(value))
	if w.batch.Len() >= batchCommands || w.bytes >= batchBytes {
		return w.flush(ctx)
	}
	return nil
}

func (w *set) flush(ctx context.Context) error {
	if w.batch.Len() == 0 {
		return nil
	}
	commands := w.batch.Cmds()
	w.batch, w.bytes = w.redis.Pipeline(), 0
	return w.run(ctx, commands, nil)
}

// switchOver gives the staged values of keys their final names. Once begun it isn't stopped by ctx. The
// keys whose staged value is gone (evicted, or renamed by a try whose answer was lost) are returned: what
// they hold may be old, so the caller must not keep them.
func (w *set) switchOver(ctx context.Context, keys iter.Seq[string]) (gone []string, err error) {
	if err := w.flush(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchPatience)
	defer cancel()
	var names []string
	rename := func() error {
		batch := w.redis.Pipeline()
		for _, key := range names {
			batch.Rename(ctx, w.stagedName(key), key)
			batch.Expire(ctx, key, valueTTL)
		}
		commands := batch.Cmds()
		err := w.run(ctx, commands, func(i int, err error) bool {
			if err == nil || !strings.Contains(err.Error(), "no such key") {
				return false
			}
			gone = append(gone, names[i/2])
			return true
		})
		names = names[:0]
		return err
	}
	for key := range keys {
		if names = append(names, key); len(names) == batchCommands/2 {
			if err := rename(); err != nil {
				return gone, err
			}
		}
	}
	w.staged = 0
	if len(names) > 0 {
		err = rename()
	}
	return gone, err
}

// run sends the commands in one pipeline until all have succeeded. excused says which errors count as
// success.
func (w *set) run(ctx context.Context, commands []redis.Cmder, excused func(i int, err error) bool) error {
	left := make([]int, len(commands))
	for i := range left {
		left[i] = i
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, batchPatience)
		defer cancel()
		pipe := w.redis.Pipeline()
		for _, i := range left {
			commands[i].SetErr(nil)
			_ = pipe.Process(ctx, commands[i])
		}
		_, err := pipe.Exec(ctx) // of single-key commands only: a cluster client sends each to its node
		if err == nil {
			return struct{}{}, nil
		}
		var failed []int
		first := error(nil)
		for _, i := range left {
			if e := commands[i].Err(); e != nil && (excused == nil || !excused(i, e)) {
				failed = append(failed, i)
				if first == nil {
					first = e
				}
			}
		}
		if left = failed; first == nil {
			return struct{}{}, nil
		}
		if strings.HasPrefix(first.Error(), "OOM ") {
			return struct{}{}, backoff.Permanent(fmt.Errorf("redis is full (raise maxmemory, or give the jobs a Redis of their own): %w", first))
		}
		return struct{}{}, first
	}, backoff.WithMaxTries(tries), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 3, MaxInterval: 5 * time.Second,
	}))
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// prune removes the keys of this kind that ours says have our shape and keep doesn't want.
func (w *set) prune(ctx context.Context, ours, keep func(key string) bool) (removed int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchPatience)
	defer cancel()
	return w.remove(ctx, globEscape(w.kind)+":*", func(key string) bool { return ours(key) && !keep(key) })
}

// dropStaged removes what was staged and not renamed.
func (w *set) dropStaged(ctx context.Context) error {
	_, err := w.remove(ctx, globEscape(w.prefix+"{"+w.kind+":")+"*}", func(string) bool { return true })
	return err
}

// abandon is for a job that ends early; what it can't remove now expires, or is removed by the next run.
func (w *set) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	w.batch, w.bytes = w.redis.Pipeline(), 0
	_ = w.dropStaged(ctx)
}

// remove unlinks the strings under pattern that doomed picks, page by page of a scan.
func (w *set) remove(ctx context.Context, pattern string, doomed func(key string) bool) (removed int, err error) {
	for key, scanErr := range w.scan(ctx, pattern) {
		if scanErr != nil {
			return removed, errors.Join(scanErr, w.flush(ctx))
		}
		if !doomed(key) {
			continue
		}
		w.batch.Unlink(ctx, key)
		removed++
		if w.batch.Len() >= batchCommands {
			if err := w.flush(ctx); err != nil {
				return removed, err
			}
		}
	}
	return removed, w.flush(ctx)
}

// scan gives the names of the strings under pattern, on every master of a cluster. A name may come
// twice.
func (w *set) scan(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		nodes, err := masters(ctx, w.redis)
		if err != nil {
			yield("", err)
			return
		}
		for _, node := range nodes {
			for cursor := uint64(0); ; {
				page, cancel := context.WithTimeout(ctx, batchPatience)
				keys, next, err := node.ScanType(page, cursor, pattern, scanCount, "string").Result()
				cancel()
				if err != nil {
					yield("", err)
					return
				}
				for _, key := range keys {
					if !yield(key, nil) {
						return
					}
				}
				if cursor = next; cursor == 0 {
					break
				}
			}
		}
	}
}

func masters(ctx context.Context, c redis.UniversalClient) (nodes []redis.Cmdable, err error) {
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		return []redis.Cmdable{c}, nil
	}
	found := make(chan redis.Cmdable)
	failed := make(chan error, 1)
	go func() { // ForEachMaster calls back from several goroutines
		failed <- cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			found <- node
			return nil
		})
		close(found)
	}()
	for node := range found {
		nodes = append(nodes, node)
	}
	return nodes, <-failed
}

// globEscape makes a text that SCAN's MATCH takes literally.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(s)
}
