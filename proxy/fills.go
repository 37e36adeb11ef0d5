package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// fills remembers what the server has computed for us since the generation of the data began: what it
// keeps of a bot from before is not to be believed (contract, traps 5 and 6). Of which bots it has made rows
// the replicas tell each other through Redis, where there is one: once made they are.
type fills struct {
	redis   redis.UniversalClient // nil: not shared
	inTouch func() bool           // with Redis; nobody waits for one that has gone
	prefix  string
	ttl     time.Duration

	mu         sync.Mutex
	generation string
	computed   map[string]bool // bot and variant -> the server computed it in this generation
	rows       map[string]bool // bot -> its row was made in this generation; true: of bars as new as the data
	again      map[string]bool // bot and variant -> the last answer came from the server's own cache
	foreign    map[string]bool // bot -> its row may hold a run against another benchmark than the default
	told       map[string]bool // bot -> and all replicas know

	anyDoubtful bool // more bots are foreign, or to be computed again, than can be remembered
}

const (
	// maxFills bounds each of the maps; past it the server is made to compute more than needed.
	maxFills = 50_000
	// rowsPatience bounds how long an answer waits to tell of the rows, or to hear of them.
	rowsPatience = 50 * time.Millisecond
)

// newFills shares through client, nil for none; what it tells is kept for ttl.
func newFills(client redis.UniversalClient, inTouch func() bool, prefix string, ttl time.Duration) *fills {
	f := &fills{redis: client, inTouch: inTouch, prefix: prefix + "rows:", ttl: ttl, again: map[string]bool{}, foreign: map[string]bool{}, told: map[string]bool{}}
	f.begin("")
	return f
}

// begin forgets what was known of another generation. The caller holds mu, or nobody else has f yet.
func (f *fills) begin(generation string) {
	if f.generation != generation || f.computed == nil || len(f.computed) > maxFills {
		f.generation, f.computed, f.rows = generation, map[string]bool{}, map[string]bool{}
	}
	if len(f.foreign) > maxFills || len(f.again) > maxFills {
		f.anyDoubtful = true // rather than forget one
		clear(f.foreign)
		clear(f.again)
	}
	if len(f.told) > maxFills {
		clear(f.told)
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
	return f.anyDoubtful || f.foreign[bot] || f.again[bot+"\n"+variant]
}

// hasForeign notes a run of the bot against another benchmark, and reports whether that is news to others.
func (f *fills) hasForeign(bot string) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = !f.told[bot]
	f.foreign[bot], f.told[bot] = true, true
	return news
}

// untold forgets what others know: Redis may have lost it, and some of them may have come since.
func (f *fills) untold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.told)
}

// ran notes an answer to a run of the bot: computed now, or from the server's cache. fresh says that
// its bars are as new as the data.
func (f *fills) ran(ctx context.Context, generation, bot, variant string, cached, fresh bool) {
	if f.noteRun(generation, bot, variant, cached, fresh); cached || !f.shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rowsPatience)
	defer cancel()
	_, _ = f.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // without it the others have the server make theirs
		p.HSet(ctx, f.prefix+generation, bot, fresh)
		p.PExpire(ctx, f.prefix+generation, f.ttl)
		return nil
	})
}

func (f *fills) shared() bool { return f.redis != nil && f.inTouch() }

func (f *fills) noteRun(generation, bot, variant string, cached, fresh bool) {
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

// doubt forgets what was known of the bots' rows in the generation.
func (f *fills) doubt(ctx context.Context, generation string, bots []string) {
	f.mu.Lock()
	f.begin(generation)
	for _, bot := range bots {
		delete(f.rows, bot)
	}
	f.mu.Unlock()
	if !f.shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rowsPatience)
	defer cancel()
	f.redis.HDel(ctx, f.prefix+generation, bots...)
}

// rowsOf reports whether every bot's row was made in the generation, and of bars as new as the data. What is to
// be believed of an answer must have been so before it was asked for.
func (f *fills) rowsOf(ctx context.Context, generation string, bots []string) (made, fresh bool) {
	unknown, fresh := f.knownRows(generation, bots)
	if len(unknown) == 0 || !f.shared() {
		return len(unknown) == 0, fresh && len(unknown) == 0
	}
	ctx, cancel := context.WithTimeout(ctx, rowsPatience)
	defer cancel()
	told, err := f.redis.HMGet(ctx, f.prefix+generation, unknown...).Result()
	if err != nil || len(told) != len(unknown) {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(generation)
	made = true
	for i, bot := range unknown {
		isFresh, ok := told[i].(string)
		made, fresh = made && ok, fresh && isFresh == "1"
		if _, known := f.rows[bot]; ok && !known {
			f.rows[bot] = isFresh == "1"
		}
	}
	return made, made && fresh
}

// knownRows gives the bots of whose rows nothing is known here, and whether all others are of fresh bars.
func (f *fills) knownRows(generation string, bots []string) (unknown []string, fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(generation)
	fresh = true
	for _, bot := range bots {
		isFresh, ok := f.rows[bot]
		if !ok {
			unknown = append(unknown, bot)
		}
		fresh = fresh && (isFresh || !ok)
	}
	return unknown, fresh
}
