package store

import (
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
)

// Memory is the tier in the process: entries by key, bounded by their cost in bytes. TinyLFU may
// refuse an entry, so a fill is not a promise.
type Memory struct {
	cache *ristretto.Cache[string, *Entry]
}

// NewMemory makes a tier of at most limit bytes.
func NewMemory(limit int64) (*Memory, error) {
	cache, err := ristretto.NewCache(&ristretto.Config[string, *Entry]{
		// Ten counters an entry, as ristretto advises, for entries of 4 KiB and more.
		NumCounters: max(10_000, limit/4096*10),
		MaxCost:     limit,
		BufferItems: 64,
		// Cost already counts the overhead; ristretto's own is not bytes of ours.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the memory tier of %d bytes: %w", limit, err)
	}
	return &Memory{cache: cache}, nil
}

// Get gives the entry of key, fresh or not. Expiry is the entry's own: ristretto's TTL bookkeeping
// has grown without bound (dgraph-io/ristretto#329).
func (m *Memory) Get(key string) (*Entry, bool) {
	e, ok := m.cache.Get(key)
	if !ok || e.Key != key {
		return nil, false
	}
	return e, true
}

// Set keeps e and returns when it can be seen (or was refused). Sets are asynchronous in
// ristretto; the wait is for its buffer to be worked off, microseconds on a path that has just
// waited for the server, and without it a second click could miss.
func (m *Memory) Set(e *Entry) {
	if m.cache.Set(e.Key, e, e.Cost()) {
		m.cache.Wait()
	}
}

// Del drops key.
func (m *Memory) Del(key string) { m.cache.Del(key) }

// Used is the cost of what is kept, in bytes.
func (m *Memory) Used() int64 { return m.cache.MaxCost() - m.cache.RemainingCost() }

// Close ends the tier's goroutines. Nothing may use it afterwards.
func (m *Memory) Close() { m.cache.Close() }
