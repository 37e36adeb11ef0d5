package upstream

import (
	"slices"
	"sync"
)

// tickersInUse remembers which tickers requests were about lately: a sync shows in their candles
// before it shows in the canaries', or after.
type tickersInUse struct {
	mu     sync.Mutex
	recent []string // newest last
}

// maxUses bounds what one request adds.
const maxUses = 8

// Uses tells of tickers that an answer depends on.
func (d *DataWatch) Uses(tickers []string) {
	u := &d.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range tickers[:min(len(tickers), maxUses)] {
		if i := slices.Index(u.recent, t); i >= 0 {
			u.recent = append(slices.Delete(u.recent, i, i+1), t)
			continue
		}
		if len(u.recent) >= maxWatched {
			u.recent = slices.Delete(u.recent, 0, 1)
		}
		u.recent = append(u.recent, t)
	}
}

// watched are the tickers to look at: the canaries, those in the record, and as many in use as there
// is room for.
func (d *DataWatch) watched(known record) []string {
	list := slices.Clone(d.canaries)
	for t := range known.Tickers {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	slices.Sort(list[len(d.canaries):])
	d.uses.mu.Lock()
	defer d.uses.mu.Unlock()
	for i := len(d.uses.recent) - 1; i >= 0 && len(list) < maxWatched; i-- {
		if t := d.uses.recent[i]; !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}
