package proxy

import (
	"slices"
	"sync"
)

// fills remembers what the server has computed for us since the generation of the data began: what it
// keeps of a bot from before is not to be believed (contract, traps 5 and 6).
type fills struct {
	mu         sync.Mutex
	generation string
	computed   map[string]bool // bot and variant -> the server computed it in this generation
	rows       map[string]bool // bot -> its row was made in this generation; true: of bars as new as the data
	again      map[string]bool // bot and variant -> the last answer came from the server's own cache
	foreign    map[string]bool // bot -> its row may hold a run against another benchmark than the default
}

// maxFills bounds each of the maps; past it the server is made to compute once more than needed.
const maxFills = 50_000

func newFills() *fills {
	f := &fills{again: map[string]bool{}, foreign: map[string]bool{}}
	f.begin("")
	return f
}

// begin forgets what was known of another generation. The caller holds mu, or nobody else has f yet.
func (f *fills) begin(generation string) {
	if f.generation != generation || f.computed == nil || len(f.computed) > maxFills {
		f.generation, f.computed, f.rows = generation, map[string]bool{}, map[string]bool{}
	}
	for _, m := range []map[string]bool{f.again, f.foreign} {
		if len(m) > maxFills {
			clear(m)
		}
	}
}

// isFirst reports whether the server has not computed this variant of the bot in the generation.
func (f *fills) isFirst(generation, bot, variant string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(generation)
	return !f.computed[bot+"\n"+variant]
}

// isDoubtful reports whether what the server keeps of the variant can't be told from another's.
func (f *fills) isDoubtful(bot, variant string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.foreign[bot] || f.again[bot+"\n"+variant]
}

// hasForeign notes a run of the bot against another benchmark, and reports whether that is news.
func (f *fills) hasForeign(bot string) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = !f.foreign[bot]
	f.foreign[bot] = true
	return news
}

// ran notes an answer to a run of the bot: computed now, or from the server's cache. fresh says that
// its bars are as new as the data.
func (f *fills) ran(generation, bot, variant string, cached, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(generation)
	name := bot + "\n" + variant
	if cached {
		f.again[name] = true
		return
	}
	delete(f.again, name)
	f.computed[name] = true
	f.rows[bot] = fresh
}

// rowsOf reports whether every bot's row was made in the generation, and of bars as new as the data.
func (f *fills) rowsOf(generation string, bots []string) (made, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(generation)
	fresh = true
	missing := slices.ContainsFunc(bots, func(bot string) bool {
		isFresh, ok := f.rows[bot]
		fresh = fresh && isFresh
		return !ok
	})
	return !missing, fresh && !missing
}
