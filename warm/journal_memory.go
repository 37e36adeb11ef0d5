package warm

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// maxJournal bounds what the journal takes in all, in bytes of packed requests.
const maxJournal = 64 << 20

// memoryKeeper keeps a journal for as long as the process lives.
type memoryKeeper struct {
	limit, limitBytes int

	mu    sync.Mutex
	kept  map[string]*memoryEntry
	bytes int
}

type memoryEntry struct {
	Entry
	weight weight
}

func newMemoryKeeper(limit, limitBytes int) *memoryKeeper {
	return &memoryKeeper{limit: limit, limitBytes: limitBytes, kept: map[string]*memoryEntry{}}
}

func (k *memoryKeeper) touch(_ context.Context, now time.Time, uses []use) (missing []int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, u := range uses {
		if e := k.kept[u.id]; e != nil {
			e.count(now, u)
		} else {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// count adds u, seen at now. What a request takes is averaged: one slow answer doesn't make it dear.
func (e *memoryEntry) count(now time.Time, u use) {
	w := used(u.uses, now)
	if e.Uses > 0 {
		w = e.weight.and(w)
	}
	e.weight, e.Uses, e.Last = w, e.Uses+u.uses, now
	switch {
	case u.took > 0 && e.Took > 0:
		e.Took = (e.Took + u.took) / 2
	case u.took > 0:
		e.Took = u.took
	}
	e.Score = e.weight.times(e.Took)
}

func (k *memoryKeeper) add(_ context.Context, now time.Time, uses []use, packed [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, u := range uses {
		k.forget(u.id)
		e := &memoryEntry{Entry: Entry{ID: u.id, packed: packed[i]}}
		e.count(now, u)
		k.kept[u.id] = e
		k.bytes += len(packed[i])
	}
	k.evict()
	return nil
}

// evict drops the least valuable until the rest fits, and a little more: finding them takes a look at
// all, which must not be needed for each new one.
func (k *memoryKeeper) evict() {
	if len(k.kept) <= k.limit && k.bytes <= k.limitBytes {
		return
	}
	all := make([]*memoryEntry, 0, len(k.kept))
	for _, e := range k.kept {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *memoryEntry) int { return cmp.Compare(a.Score, b.Score) })
	for _, e := range all {
		if len(k.kept) <= k.limit-k.limit/100 && k.bytes <= k.limitBytes-k.limitBytes/100 {
			return
		}
		k.forget(e.ID)
	}
}

func (k *memoryKeeper) forget(id string) {
	if e := k.kept[id]; e != nil {
		k.bytes -= len(e.packed)
		delete(k.kept, id)
	}
}

func (k *memoryKeeper) load(_ context.Context, now time.Time) ([]Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]Entry, 0, len(k.kept))
	for id, e := range k.kept {
		if now.Sub(e.Last) > journalTTL {
			k.forget(id)
			continue
		}
		all = append(all, e.Entry)
	}
	return all, nil
}

func (k *memoryKeeper) drop(_ context.Context, ids []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		k.forget(id)
	}
	return nil
}

func (k *memoryKeeper) size(context.Context) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept), nil
}
