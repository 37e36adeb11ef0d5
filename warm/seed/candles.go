package seed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// maxStaged bounds what Redis holds twice during the candle job: thousands of tickers at up to a megabyte
// each. A larger set changes in portions of this size instead of as a whole.
const maxStaged = 1 << 30

// Candles writes candles:{ticker} for every price file in dir. A file that can't be read is skipped and
// its key goes: without one the server reads the file itself, an old one would be believed.
func (s *Seeder) Candles(ctx context.Context, dir string, progress Progress) (r Report, err error) {
	defer func(started time.Time) { s.finish("candles", &r, started, err) }(time.Now())
	paths, badNames, err := priceFiles(dir)
	r.skip(badName, badNames)
	if err != nil {
		return r, err
	}
	w, err := s.newSet(ctx, "candles")
	if err != nil {
		return r, err
	}
	if err := s.candles(ctx, w, paths, progress, &r); err != nil {
		w.abandon(ctx)
		return r, fmt.Errorf("candles: %w", err)
	}
	return r, nil
}

func (s *Seeder) candles(ctx context.Context, w *set, paths map[string]string, progress Progress, r *Report) error {
	type result struct {
		key   string
		value []byte
		err   error
	}
	kept := map[string]bool{}
	var portion []string
	switchOver := func() error {
		gone, err := w.switchOver(ctx, slices.Values(portion))
		if err != nil {
			return err
		}
		for _, key := range portion {
			kept[key] = true
		}
		for _, key := range gone {
			delete(kept, key)
		}
		r.skip(evicted, len(gone))
		r.Written += len(portion) - len(gone)
		portion = portion[:0]
		return nil
	}
	done := 0
	err := parallel(ctx, slices.Sorted(maps.Keys(paths)), func(ticker string) result {
		b, err := readBars(paths[ticker])
		if err != nil {
			return result{err: fmt.Errorf("%s: %w", ticker, err)}
		}
		return result{key: "candles:" + ticker, value: b.appendJSON(nil)}
	}, func(one result) error {
		done++
		progress.tell(done, len(paths))
		if one.err != nil {
			r.skip(reasonOf(one.err), 1)
			s.logSkipped(r.Skipped, one.err)
			return nil
		}
		portion = append(portion, one.key)
		if err := w.put(ctx, one.key, one.value); err != nil || w.staged < s.maxStaged {
			return err
		}
		return switchOver()
	})
	if err != nil {
		return err
	}
	if err := switchOver(); err != nil || r.Written == 0 {
		return err
	}
	r.Bytes = w.total
	r.Removed, err = w.prune(ctx, func(key string) bool {
		_, ok := shaped(key, "candles", 1)
		return ok
	}, func(key string) bool { return kept[key] })
	return err
}

// evicted is the reason of values that Redis lost between staging and switching.
const evicted = "evicted by redis"

// appendJSON writes the array that the server's cache layer stores: {date, open, high, low, close, volume,
// adjClose}, oldest first. An unknown value is null, which the server's `adjClose || close` passes over
// as it does a zero.
func (b *bars) appendJSON(to []byte) []byte {
	to = slices.Grow(to, 128*len(b.days)+2)
	to = append(to, '[')
	for i, day := range b.days {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(day.append(append(to, `{"date":"`...)), '"')
		to = appendNumber(append(to, `,"open":`...), b.open[i])
		to = appendNumber(append(to, `,"high":`...), b.high[i])
		to = appendNumber(append(to, `,"low":`...), b.low[i])
		to = appendNumber(append(to, `,"close":`...), b.close[i])
		to = appendNumber(append(to, `,"volume":`...), b.volume[i])
		to = append(appendNumber(append(to, `,"adjClose":`...), b.adjusted[i]), '}')
	}
	return append(to, ']')
}

// logSkipped logs the first few: a whole directory may be unreadable.
func (s *Seeder) logSkipped(nth int, err error) {
	if nth <= 5 {
		s.log.Sugar().Warnw("seed skips a price file", "error", err)
	}
}
