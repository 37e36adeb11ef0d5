package seed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

const tooFewDays = "fewer than 20 common days"

// Correlations writes correlation:{a}:{b} for all pairs of the curves, and to the table nexus_correlations
// if there is a database. Neither waits for the other's success: what fails is in the error, and what
// it had before stays. A run that has no pair to write leaves everything as it is.
func (s *Seeder) Correlations(ctx context.Context, curves []Curve, progress Progress) (r Report, err error) {
	defer func(started time.Time) { s.finish("correlations", &r, started, err) }(time.Now())
	all := prepare(curves, &r)
	var sinks []*sink
	if s.redis != nil {
		sinks = append(sinks, s.redisSink(ctx, all, &r))
	}
	if s.database != "" {
		sinks = append(sinks, tableSink(ctx, s.database, all, &r))
	}
	if len(sinks) == 0 {
		return r, errors.New("correlations: neither a Redis nor a database to write to")
	}
	written := 0
	err = pairwise(ctx, all, progress, func(t *tile) error {
		r.skip(tooFewDays, t.tooFew)
		written += len(t.pairs)
		return toEach(sinks, func(k *sink) error { return k.put(t.pairs) })
	})
	for _, k := range sinks {
		switch {
		case k.err != nil:
		case err != nil:
			k.err = err
		case written > 0:
			k.err = k.commit()
		}
		if k.close != nil {
			k.close(k.err == nil && written > 0)
		}
	}
	return r, failures(sinks)
}

// A pair is the correlation of two curves, by their indices.
type pair struct {
	a, b int
	rho  float64
}

// A tile is a square of the matrix of all pairs, small enough for its curves to stay in the processor's
// cache, and for few of its pairs to wait for being written.
type tile struct {
	row, column int
	pairs       []pair
	tooFew      int
}

const tileSide = 32

// pairwise computes all pairs, tile by tile on all cores, and hands the tiles to take.
func pairwise(ctx context.Context, all []returns, progress Progress, take func(*tile) error) error {
	var tiles []tile
	for row := 0; row < len(all); row += tileSide {
		for column := row; column < len(all); column += tileSide {
			tiles = append(tiles, tile{row: row, column: column})
		}
	}
	done, total := 0, len(all)*(len(all)-1)/2
	return parallel(ctx, tiles, func(t tile) *tile {
		t.pairs = make([]pair, 0, tileSide*tileSide)
		var j joiner
		for a := t.row; a < min(t.row+tileSide, len(all)); a++ {
			for b := max(t.column, a+1); b < min(t.column+tileSide, len(all)); b++ {
				if rho, err := j.correlate(&all[a], &all[b]); err != nil {
					t.tooFew++
				} else {
					t.pairs = append(t.pairs, pair{a, b, rho})
				}
			}
		}
		return &t
	}, func(t *tile) error {
		done += len(t.pairs) + t.tooFew
		progress.tell(done, total)
		return take(t)
	})
}

// A sink takes pairs; nothing of them is seen before commit. With err set it takes no more.
type sink struct {
	put    func([]pair) error
	commit func() error
	close  func(committed bool)
	err    error
}

// toEach hands something to the sinks that still work, and fails when none does.
func toEach(sinks []*sink, do func(*sink) error) error {
	live := false
	for _, k := range sinks {
		if k.err == nil {
			k.err = do(k)
		}
		live = live || k.err == nil
	}
	if live {
		return nil
	}
	return failures(sinks)
}

func failures(sinks []*sink) error {
	var errs []error
	for _, k := range sinks {
		errs = append(errs, k.err)
	}
	return errors.Join(errs...)
}

func (s *Seeder) redisSink(ctx context.Context, all []returns, r *Report) *sink {
	w, err := s.newSet(ctx, "correlation")
	if err != nil {
		return &sink{err: fmt.Errorf("correlations to Redis: %w", err)}
	}
	kept := newPairSet(all)
	wrap := func(err error) error {
		if err != nil {
			return fmt.Errorf("correlations to Redis: %w", err)
		}
		return nil
	}
	return &sink{
		put: func(pairs []pair) error {
			for _, p := range pairs {
				kept.add(p.a, p.b)
				if err := w.put(ctx, kept.key(p.a, p.b), appendNumber(nil, p.rho)); err != nil {
					return wrap(err)
				}
			}
			return nil
		},
		commit: func() error {
			gone, err := w.switchOver(ctx, kept.keys())
			if err != nil {
				return wrap(err)
			}
			for _, key := range gone {
				kept.drop(key)
			}
			r.skip(evicted, len(gone))
			r.Written, r.Bytes = kept.count, w.total
			r.Removed, err = w.prune(ctx, func(key string) bool {
				_, ok := shaped(key, "correlation", 2)
				return ok
			}, kept.has)
			return wrap(err)
		},
		close: func(committed bool) {
			if !committed {
				w.abandon(ctx)
			}
		},
	}
}

// A pairSet says which pairs have a value: a bit each, where the names of half a million keys would take
// tens of megabytes.
type pairSet struct {
	all   []returns
	index map[string]int
	bits  []uint64
	count int
}

func newPairSet(all []returns) *pairSet {
	s := &pairSet{all: all, index: make(map[string]int, len(all)), bits: make([]uint64, (len(all)*len(all)+63)/64)}
	for i := range all {
		s.index[all[i].bot] = i
	}
	return s
}

func (s *pairSet) at(a, b int) (word *uint64, bit uint64) {
	i := a*len(s.all) + b
	return &s.bits[i/64], 1 << (i % 64)
}

func (s *pairSet) add(a, b int) {
	word, bit := s.at(a, b)
	*word |= bit
	s.count++
}

func (s *pairSet) drop(key string) {
	if a, b, ok := s.find(key); ok {
		word, bit := s.at(a, b)
		*word &^= bit
		s.count--
	}
}

func (s *pairSet) has(key string) bool {
	_, _, ok := s.find(key)
	return ok
}

func (s *pairSet) find(key string) (a, b int, ok bool) {
	parts, ok := shaped(key, "correlation", 2)
	if !ok {
		return 0, 0, false
	}
	a, aKnown := s.index[parts[0]]
	b, bKnown := s.index[parts[1]]
	if !aKnown || !bKnown {
		return 0, 0, false
	}
	word, bit := s.at(a, b)
	return a, b, *word&bit != 0
}

func (s *pairSet) key(a, b int) string { return "correlation:" + s.all[a].bot + ":" + s.all[b].bot }

func (s *pairSet) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for a := range s.all {
			for b := a + 1; b < len(s.all); b++ {
				if word, bit := s.at(a, b); *word&bit != 0 && !yield(s.key(a, b)) {
					return
				}
			}
		}
	}
}
