package board

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// keys are the board's own in Redis. The braces put them into one slot of a cluster. A Redis that is full may evict
// any of them alone: so that this shows, each is there from the life's begin, with an element "" in the
// collections, which stands for nothing else.
type keys struct {
	seq      string // counts notices
	notices  string // sorted set: subject by the number of its last notice, the counter of each bot
	writes   string // sorted set: token and subject of writes under way, by when they expire (ms)
	replicas string // hash: replica -> "<last look, ms> <last notice read>"
	meta     string // hash: life, run, floor, version, record
	wake     string // channel: have a look
}

func keysOf(prefix string) keys {
	p := prefix + "{board}:"
	return keys{p + "seq", p + "notices", p + "writes", p + "replicas", p + "meta", p + "wake"}
}

func (k keys) list() []string { return []string{k.seq, k.notices, k.writes, k.replicas, k.meta} }

// A script is run under a flag that lets it write to a Redis that is full: what it writes is small, and a
// replica that can't be told of a write could serve nothing. Redis before version 7 knows no flags.
type script struct{ flagged, plain *redis.Script }

func newScript(text string) script {
	return script{redis.NewScript("#!lua flags=allow-oom\n" + text), redis.NewScript(text)}
}

func (b *Board) run(ctx context.Context, s script, args ...any) *redis.Cmd {
	if !b.old.Load() {
		res := s.flagged.Run(ctx, b.client, b.keys.list(), args...)
		if err := res.Err(); err == nil || !strings.Contains(err.Error(), "ompil") {
			return res
		}
		b.old.Store(true)
	}
	return s.plain.Run(ctx, b.client, b.keys.list(), args...)
}

// The scripts run on Redis's own clock, in milliseconds. Who may not publish (an ACL without channels) is read from every
// lookEvery all the same.
const clock = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function notice(s)
	if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], '') end
	local before = tonumber(redis.call('ZSCORE', KEYS[2], s) or '0')
	local n = redis.call('INCR', KEYS[1])
	redis.call('ZADD', KEYS[2], n, s)
	return {n, before}
end
local function bound(most)
	local excess = redis.call('ZCARD', KEYS[2]) - most
	if excess > 0 then
		local gone = redis.call('ZPOPMIN', KEYS[2], excess)
		redis.call('HSET', KEYS[5], 'floor', gone[#gone])
	end
end
local function whole()
	return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('ZSCORE', KEYS[2], '') and redis.call('ZSCORE', KEYS[3], '')
		and redis.call('HEXISTS', KEYS[4], '') == 1
end
`

var (
	// look: ARGV is the replica, life as known, last notice read, version of the record as known, a name
	// for this life, the TTL of writes, that of the keys, for how long a replica counts as there after its last
	// look, and the tokens of the replica's writes.
	//
	// A server that was restarted from its last snapshot, or has taken over from one that died, may lack what
	// came last: notices, whose numbers would be given out again, and generations of the data. What it holds
	// says nothing of it, so another run of the server is another life. Who may not ask for the run goes by
	// the number of notices. The record is whole as long as its key is.
	lookScript = newScript(clock + `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local life = redis.call('HGET', KEYS[5], 'life')
local seen, seq = tonumber(ARGV[3]), tonumber(redis.call('GET', KEYS[1]) or ARGV[3])
local same = life and run == (redis.call('HGET', KEYS[5], 'run') or '') and not (life == ARGV[2] and seq < seen)
if not same or not whole() then
	if not same then redis.call('HDEL', KEYS[5], 'version', 'record') end
	life = ARGV[5]
	local last = redis.call('ZREVRANGEBYSCORE', KEYS[2], '(+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
	seq = math.max(seq, tonumber(last[2] or '0'), tonumber(redis.call('HGET', KEYS[5], 'floor') or '0'))
	redis.call('SET', KEYS[1], string.format('%.0f', seq))
	redis.call('ZADD', KEYS[2], '+inf', '')
	redis.call('ZADD', KEYS[3], '+inf', '')
	redis.call('HSET', KEYS[4], '', '0 0')
	redis.call('HSET', KEYS[5], 'life', life, 'run', run, 'born', now)
	redis.call('HDEL', KEYS[5], 'floor')
end
local known = life == ARGV[2]
for i = 9, #ARGV do
	if not known or redis.call('ZSCORE', KEYS[3], ARGV[i]) then redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[i]) end
end
for _, w in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
	redis.call('ZREM', KEYS[3], w)
	notice(string.sub(w, string.find(w, '|', 1, true) + 1))
end
redis.call('HSET', KEYS[4], ARGV[1], now .. ' ' .. ARGV[3])
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[7]) end
local others = 0
local replicas = redis.call('HGETALL', KEYS[4])
for i = 1, #replicas, 2 do
	local at = tonumber(string.sub(replicas[i + 1], 1, string.find(replicas[i + 1], ' ', 1, true) - 1))
	if replicas[i] ~= ARGV[1] and now - at < ARGV[8] + 0 then others = others + 1 end
end
local notices = {}
if not known or seen < tonumber(redis.call('HGET', KEYS[5], 'floor') or '0') then
	life = life .. '!'
	local all = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
	for i = 1, #all, 2 do
		local class = string.sub(all[i], 1, 1)
		if class == 'r' and others == 0 and ARGV[2] == '' then
			redis.call('ZREM', KEYS[2], all[i])
		elseif class == 'f' or class == 'r' or class == 'p' or class == 'c' then
			notices[#notices + 1] = all[i]
			notices[#notices + 1] = all[i + 1]
		end
	end
else
	notices = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. seen, '(+inf', 'WITHSCORES')
end
local version = redis.call('HGET', KEYS[5], 'version') or '0'
local record = ''
if version ~= ARGV[4] or string.sub(life, -1) == '!' then record = redis.call('HGET', KEYS[5], 'record') or '' end
local age = now - tonumber(redis.call('HGET', KEYS[5], 'born') or now)
return {life, tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(version), record, notices, redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(+inf'), age, others}`)

	// putUp: ARGV is the subject, a token or "", the TTL of writes, the bound of notices.
	putUpScript = newScript(clock + `
local n = notice(ARGV[1])
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2]) end
bound(ARGV[4])
redis.pcall('PUBLISH', ARGV[5], '')
return n`)

	// say: ARGV is for how many ms a write counts as under way, the bound of notices, the channel, then subjects and tokens.
	sayScript = newScript(clock + `
local numbers = {}
for i = 4, #ARGV, 2 do
	local n = notice(ARGV[i])
	if ARGV[i + 1] ~= '' then redis.call('ZADD', KEYS[3], now + ARGV[1], ARGV[i + 1]) end
	numbers[#numbers + 1], numbers[#numbers + 2] = n[1], n[2]
end
bound(ARGV[2])
redis.pcall('PUBLISH', ARGV[3], '')
return numbers`)

	// takeDown: ARGV is the subject, its token, and for how many ms it still counts as under way.
	takeDownScript = newScript(clock + `
if ARGV[3] == '0' then redis.call('ZREM', KEYS[3], ARGV[2]) else redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2]) end
local n = notice(ARGV[1])
redis.pcall('PUBLISH', ARGV[4], '')
return n`)

	// awaited: ARGV is the replica that asks, the notice, the lease. How many replicas that believe what
	// they read have not read so far. In a life that is younger than a lease there may be others, who
	// believe what they read in the one before.
	awaitedScript = newScript(clock + `
local waiting = 0
if not whole() or now - tonumber(redis.call('HGET', KEYS[5], 'born') or now) <= ARGV[3] + 0 then waiting = 1 end
local all = redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
	local gap = string.find(all[i + 1], ' ', 1, true)
	local at, seen = tonumber(string.sub(all[i + 1], 1, gap - 1)), tonumber(string.sub(all[i + 1], gap + 1))
	if all[i] ~= '' and now - at > 20 * ARGV[3] then redis.call('HDEL', KEYS[4], all[i])
	elseif all[i] ~= ARGV[1] and now - at <= ARGV[3] + 0 and seen < ARGV[2] + 0 then waiting = waiting + 1 end
end
return waiting`)

	// propose: ARGV is the version as known, the record. Versions begin with the time, so that none of a life is
	// taken for one of another.
	proposeScript = newScript(clock + `
if (redis.call('HGET', KEYS[5], 'version') or '0') ~= ARGV[1] then return 0 end
local version = ARGV[1] == '0' and now or ARGV[1] + 1
redis.call('HSET', KEYS[5], 'version', string.format('%.0f', version), 'record', ARGV[2])
redis.call('INCR', KEYS[1])
redis.pcall('PUBLISH', ARGV[3], '')
return version`)
)
