package seed

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Indicators writes indicator:{ticker}:{metric}:{period} for every distinct indicator of the strategies,
// computed from the price files in dir. A strategy is a bot's payload as the server shows it. What is
// skipped has no key afterwards: the server computes that itself.
func (s *Seeder) Indicators(ctx context.Context, dir string, strategies iter.Seq[[]byte], progress Progress) (r Report, err error) {
	defer func(started time.Time) { s.finish("indicators", &r, started, err) }(time.Now())
	paths, _, err := priceFiles(dir)
	if err != nil {
		return r, err
	}
	wanted := collect(strategies, paths, &r)
	w, err := s.newSet(ctx, "indicator")
	if err != nil {
		return r, err
	}
	if err := s.indicators(ctx, w, paths, wanted, progress, &r); err != nil {
		w.abandon(ctx)
		return r, fmt.Errorf("indicators: %w", err)
	}
	return r, nil
}

// collect gives the indicators to compute, by ticker, and counts what can't be.
func collect(strategies iter.Seq[[]byte], paths map[string]string, r *Report) map[string][]triple {
	found := references{}
	for payload := range strategies {
		if err := found.add(payload); err != nil {
			r.skip(badPayload, 1)
		}
	}
	distinct, skipped := map[triple]bool{}, map[reference]string{}
	wanted := map[string][]triple{}
	for ref := range found {
		t, reason := ref.triple()
		if _, ok := paths[fileTicker(t.ticker)]; reason == "" && !ok {
			reason = noPrices
		}
		switch {
		case reason != "":
			skipped[ref] = reason
		case !distinct[t]:
			distinct[t] = true
			wanted[t.ticker] = append(wanted[t.ticker], t)
		}
	}
	for _, reason := range skipped {
		r.skip(reason, 1)
	}
	return wanted
}

func (s *Seeder) indicators(ctx context.Context, w *set, paths map[string]string, wanted map[string][]triple, progress Progress, r *Report) error {
	type value struct {
		key  string
		json []byte
	}
	type result struct {
		values []value
		count  int
		err    error
	}
	total, done := 0, 0
	for _, triples := range wanted {
		total += len(triples)
	}
	kept := map[string]bool{}
	err := parallel(ctx, slices.Sorted(maps.Keys(wanted)), func(ticker string) result {
		b, err := readBars(paths[fileTicker(ticker)])
		if err != nil {
			return result{count: len(wanted[ticker]), err: fmt.Errorf("%s: %w", ticker, err)}
		}
		prices, values := b.prices(), []value(nil)
		for _, t := range wanted[ticker] {
			compute, _, _ := formulaOf(t.metric)
			values = append(values, value{t.key(), appendNumbers(nil, compute(prices, t.period))})
		}
		return result{values: values, count: len(values)}
	}, func(one result) error {
		done += one.count
		progress.tell(done, total)
		if one.err != nil {
			r.skip(reasonOf(one.err), one.count)
			s.logSkipped(r.Skipped, one.err)
			return nil
		}
		for _, v := range one.values {
			kept[v.key] = true
			if err := w.put(ctx, v.key, v.json); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	gone, err := w.switchOver(ctx, maps.Keys(kept))
	for _, key := range gone {
		delete(kept, key)
	}
	if err != nil || len(kept) == 0 {
		return err
	}
	r.skip(evicted, len(gone))
	r.Written, r.Bytes = len(kept), w.total
	r.Removed, err = w.prune(ctx, ourIndicator, func(key string) bool { return kept[key] })
	return err
}
