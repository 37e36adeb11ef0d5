package warm

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisKeeper keeps a journal in three keys of one hash slot, each with a TTL:
//
//	…{warm}:journal:scores    sorted set: ID → score
//	…{warm}:journal:facts     hash: ID → "weight uses ms last size"; "" → the sum of sizes
//	…{warm}:journal:requests  hash: ID → packed request
//
// Redis may evict any of them; what is missing is added again when it is next used.
type redisKeeper struct {
	client            redis.UniversalClient
	keys              []string
	limit, limitBytes int
	ttl               time.Duration
}

func newRedisKeeper(client redis.UniversalClient, prefix string, limit, limitBytes int) *redisKeeper {
	at := prefix + "{warm}:journal:"
	return &redisKeeper{
		client: client, keys: []string{at + "scores", at + "facts", at + "requests"},
		limit: limit, limitBytes: limitBytes, ttl: journalTTL,
	}
}

// countLua is the arithmetic of weight and memoryEntry.count, for the scripts below. log2 of what
// Redis's Lua has.
const countLua = `
local function log2(x) return math.log(x) / math.log(2) end
local function fact(id)
  local f = redis.call('HGET', KEYS[2], id)
  if not f then return nil end
  local w, n, ms, size = string.match(f, '^(%S+) (%d+) (%S+) %d+ (%d+)$')
  w, n, ms, size = tonumber(w), tonumber(n), tonumber(ms), tonumber(size)
  if not (w and n and ms and size) then return nil end
  return w, n, ms, size
end
local function count(id, w, n, ms, size, uses, took, age, now)
  local u = log2(uses) + age
  if not w then w = u
  else
    local hi, lo = math.max(w, u), math.min(w, u)
    w = hi + log2(1 + 2 ^ (lo - hi))
  end
  if took > 0 and ms > 0 then ms = (ms + took) / 2 elseif took > 0 then ms = took end
  redis.call('HSET', KEYS[2], id, string.format('%.17g %d %.17g %s %d', w, n + uses, ms, now, size))
  redis.call('ZADD', KEYS[1], string.format('%.17g', w + log2(math.max(1, ms))), id)
end
local function live(ttl) for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ttl) end end
`

// touchScript: ARGV is ttl, age, now, then ID, uses, ms for each. It gives the 1-based places of those
// that are not kept.
var touchScript = redis.NewScript(countLua + `
local missing = {}
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  local w, n, ms, size = fact(id)
  if w and redis.call('HEXISTS', KEYS[3], id) == 1 then
    count(id, w, n, ms, size, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[2]), ARGV[3])
  else
    missing[#missing + 1] = (i - 1) / 3
  end
end
live(ARGV[1])
return missing`)

// addScript: ARGV is ttl, age, now, limit, limit of bytes, then ID, uses, ms, request for each.
var addScript = redis.NewScript(countLua + `
local function grow(by) return redis.call('HINCRBY', KEYS[2], '', by) end
local function forget(id)
  local w, n, ms, size = fact(id)
  if size then grow(-size) end
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
local sum = 0
for i = 6, #ARGV, 4 do
  local id, size = ARGV[i], string.len(ARGV[i + 3])
  forget(id)
  redis.call('HSET', KEYS[3], id, ARGV[i + 3])
  count(id, nil, 0, 0, size, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[2]), ARGV[3])
  sum = grow(size)
end
while redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[4]) or sum > tonumber(ARGV[5]) do
  local least = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not least then break end
  forget(least)
  sum = grow(0)
end
live(ARGV[1])
return sum`)

// dropScript: ARGV is the IDs.
var dropScript = redis.NewScript(`
for _, id in ipairs(ARGV) do
  local f = redis.call('HGET', KEYS[2], id)
  local size = f and string.match(f, ' (%d+)$')
  if size then redis.call('HINCRBY', KEYS[2], '', -tonumber(size)) end
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
return #ARGV`)

func (k *redisKeeper) touch(ctx context.Context, now time.Time, uses []use) (missing []int, err error) {
	args := k.head(now)
	for _, u := range uses {
		args = append(args, u.id, u.uses, tookMS(u.took))
	}
	places, err := touchScript.Run(ctx, k.client, k.keys, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("warm: counting uses in the journal: %w", err)
	}
	for _, place := range places {
		if place < 1 || place > int64(len(uses)) {
			return nil, fmt.Errorf("warm: counting uses in the journal: place %d of %d", place, len(uses))
		}
		missing = append(missing, int(place-1))
	}
	return missing, nil
}

func (k *redisKeeper) add(ctx context.Context, now time.Time, uses []use, packed [][]byte) error {
	args := append(k.head(now), k.limit, k.limitBytes)
	for i, u := range uses {
		args = append(args, u.id, u.uses, tookMS(u.took), packed[i])
	}
	if err := addScript.Run(ctx, k.client, k.keys, args...).Err(); err != nil {
		return fmt.Errorf("warm: adding to the journal: %w", err)
	}
	return nil
}

func (k *redisKeeper) head(now time.Time) []any {
	return []any{k.ttl.Milliseconds(), strconv.FormatFloat(age(now), 'g', -1, 64), now.Unix()}
}

func tookMS(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return strconv.FormatFloat(millis(d), 'g', -1, 64)
}

// scanned is how much of a hash one call reads: requests are large, and Redis serves one at a time.
const scanned = 100

func (k *redisKeeper) load(ctx context.Context, now time.Time) ([]Entry, error) {
	facts := map[string]Entry{}
	err := k.scan(ctx, k.keys[1], 10*scanned, func(id, fact string) {
		if e, ok := readFact(id, fact); ok {
			facts[id] = e
		}
	})
	if err != nil {
		return nil, err
	}
	var all []Entry
	var stray []string
	err = k.scan(ctx, k.keys[2], scanned, func(id, packed string) {
		e, ok := facts[id]
		delete(facts, id) // a scan may give an element twice
		if !ok || now.Sub(e.Last) > journalTTL {
			stray = append(stray, id)
			return
		}
		e.packed = []byte(packed)
		all = append(all, e)
	})
	if err != nil {
		return nil, err
	}
	for id := range facts {
		stray = append(stray, id)
	}
	return all, k.drop(ctx, without(stray, all))
}

// without is ids less those of entries.
func without(ids []string, entries []Entry) (rest []string) {
	kept := make(map[string]bool, len(entries))
	for i := range entries {
		kept[entries[i].ID] = true
	}
	for _, id := range ids {
		if !kept[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

func (k *redisKeeper) scan(ctx context.Context, key string, count int64, each func(name, value string)) error {
	for cursor := uint64(0); ; {
		pairs, next, err := k.client.HScan(ctx, key, cursor, "", count).Result()
		if err != nil {
			return fmt.Errorf("warm: reading the journal: %w", err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] != "" {
				each(pairs[i], pairs[i+1])
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func readFact(id, fact string) (e Entry, ok bool) {
	f := strings.Fields(fact)
	if len(f) != 5 {
		return e, false
	}
	w, err1 := strconv.ParseFloat(f[0], 64)
	uses, err2 := strconv.ParseInt(f[1], 10, 64)
	ms, err3 := strconv.ParseFloat(f[2], 64)
	last, err4 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || ms < 0 || ms > 1e9 {
		return e, false
	}
	e = Entry{ID: id, Uses: uses, Last: time.Unix(last, 0), Took: time.Duration(ms * float64(time.Millisecond))}
	e.Score = weight(w).times(e.Took)
	return e, true
}

func (k *redisKeeper) drop(ctx context.Context, ids []string) error {
	for from := 0; from < len(ids); from += maxBatch {
		args := make([]any, 0, maxBatch)
		for _, id := range ids[from:min(from+maxBatch, len(ids))] {
			args = append(args, id)
		}
		if err := dropScript.Run(ctx, k.client, k.keys, args...).Err(); err != nil {
			return fmt.Errorf("warm: dropping from the journal: %w", err)
		}
	}
	return nil
}

func (k *redisKeeper) size(ctx context.Context) (int, error) {
	n, err := k.client.ZCard(ctx, k.keys[0]).Result()
	return int(n), err
}
