package board

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// keys are the board's own in Redis. The braces put them into one slot of a cluster.
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

// The scripts run on Redis's own clock, in milliseconds.
const clock = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function notice(s)
	local before = tonumber(redis.call('ZSCORE', KEYS[2], s) or '0')
	local n = redis.call('INCR', KEYS[1])
	redis.call('ZADD', KEYS[2], n, s)
	return {n, before}
end
`

var (
	// look: ARGV is the replica, life as known, last notice read, version of the record as known, a name
	// for this life, the TTL of writes, that of the keys, and the tokens of the replica's writes.
	//
	// A server that was restarted from its last snapshot, or has taken over from one that died, may lack what
	// came last: notices, whose numbers would be given out again, and generations of the data. What it holds
	// says nothing of it, so another run of the server is another life. Who may not ask for the run goes by
	// the number of notices.
	lookScript = newScript(clock + `
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local life = redis.call('HGET', KEYS[5], 'life')
local seen, seq = tonumber(ARGV[3]), tonumber(redis.call('GET', KEYS[1]) or '0')
if not life or run ~= (redis.call('HGET', KEYS[5], 'run') or '') or life == ARGV[2] and seq < seen then
	life = ARGV[5]
	redis.call('HSET', KEYS[5], 'life', life, 'run', run)
	redis.call('HDEL', KEYS[5], 'version', 'record')
end
for i = 8, #ARGV do
	if life ~= ARGV[2] or redis.call('ZSCORE', KEYS[3], ARGV[i]) then redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[i]) end
end
for _, w in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
	redis.call('ZREM', KEYS[3], w)
	notice(string.sub(w, string.find(w, '|', 1, true) + 1))
end
redis.call('HSET', KEYS[4], ARGV[1], now .. ' ' .. ARGV[3])
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[7]) end
local notices = {}
if life ~= ARGV[2] or seen < tonumber(redis.call('HGET', KEYS[5], 'floor') or '0') then
	life = life .. '!'
else
	notices = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. seen, '+inf', 'WITHSCORES')
end
local version = redis.call('HGET', KEYS[5], 'version') or '0'
local record = ''
if version ~= ARGV[4] or string.sub(life, -1) == '!' then record = redis.call('HGET', KEYS[5], 'record') or '' end
return {life, tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(version), record, notices, redis.call('ZRANGE', KEYS[3], 0, -1)}`)

	// putUp: ARGV is the subject, a token or "", the TTL of writes, the bound of notices.
	putUpScript = newScript(clock + `
local n = notice(ARGV[1])
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2]) end
local excess = redis.call('ZCARD', KEYS[2]) - ARGV[4]
if excess > 0 then
	local gone = redis.call('ZPOPMIN', KEYS[2], excess)
	redis.call('HSET', KEYS[5], 'floor', gone[#gone])
end
redis.call('PUBLISH', ARGV[5], '')
return n`)

	// takeDown: ARGV is the subject, its token, and for how many ms it still counts as under way.
	takeDownScript = newScript(clock + `
if ARGV[3] == '0' then redis.call('ZREM', KEYS[3], ARGV[2]) else redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2]) end
local n = notice(ARGV[1])
redis.call('PUBLISH', ARGV[4], '')
return n`)

	// awaited: ARGV is the replica that asks, the notice, the lease. How many replicas that believe what
	// they read have not read so far.
	awaitedScript = newScript(clock + `
local waiting = 0
local all = redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
	local gap = string.find(all[i + 1], ' ', 1, true)
	local at, seen = tonumber(string.sub(all[i + 1], 1, gap - 1)), tonumber(string.sub(all[i + 1], gap + 1))
	if now - at > 20 * ARGV[3] then redis.call('HDEL', KEYS[4], all[i])
	elseif all[i] ~= ARGV[1] and now - at <= ARGV[3] + 0 and seen < ARGV[2] + 0 then waiting = waiting + 1 end
end
return waiting`)

	// propose: ARGV is the version as known, the record.
	proposeScript = newScript(`
if (redis.call('HGET', KEYS[5], 'version') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[5], 'version', ARGV[1] + 1, 'record', ARGV[2])
redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[3], '')
return 1`)
)

func (b *Board) putUp(ctx context.Context, s Subject, token string) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return b.ours(b.run(ctx, putUpScript, s.text(), token, writeTTL.Milliseconds(), maxMarks, b.keys.wake))
}

// ours remembers the number of a notice of this replica's own: reading it is no news, unless it has
// taken the place of one that was.
func (b *Board) ours(res *redis.Cmd) (n int64, err error) {
	numbers, err := res.Int64Slice()
	if err != nil || len(numbers) != 2 {
		return 0, errors.Join(err, errView)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, before := numbers[0], numbers[1]; before <= b.seen || b.own[before] {
		b.own[n] = true
	}
	return numbers[0], nil
}

func (b *Board) takeDown(ctx context.Context, w *Write, certain bool) (n int64, err error) {
	still := int64(0)
	if !certain {
		still = inDoubt.Milliseconds()
	}
	return b.ours(b.run(ctx, takeDownScript, w.s.text(), w.token, still, b.keys.wake))
}

func (b *Board) propose(ctx context.Context, record []byte, version int64) (bool, error) {
	n, err := b.run(ctx, proposeScript, version, record, b.keys.wake).Int64()
	if err != nil {
		return false, fmt.Errorf("proposing a record to the board: %w", err)
	}
	return n == 1, nil
}

// await returns when all other replicas have read notice n, or their leases have run out.
func (b *Board) await(ctx context.Context, n int64) {
	ctx, cancel := context.WithTimeout(ctx, lease+callTimeout)
	defer cancel()
	for wait := 500 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		waiting, err := b.run(ctx, awaitedScript, b.id, n, lease.Milliseconds()+20).Int64()
		if err == nil && waiting == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// outwait returns when the others' leases must have run out too, if Redis is gone for all.
func (b *Board) outwait(ctx context.Context) {
	ends := b.start.Add(time.Duration(b.leaseEnds.Load()) + lease)
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(ends)):
	}
}

// Run reads the board until ctx ends, then waits for notices that are on their way.
func (b *Board) Run(ctx context.Context) {
	if b.client == nil {
		<-ctx.Done()
		return
	}
	wakes := b.client.Subscribe(ctx, b.keys.wake)
	defer b.behind.Wait()
	defer wakes.Close()
	woken := wakes.Channel()
	for {
		heard, err := b.look(ctx)
		wait := lookEvery
		if err == nil && heard {
			wait = 0 // somebody waits to be told that we have read it
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			b.leave()
			return
		case <-timer.C:
		case <-b.wake:
		case <-woken:
		}
		timer.Stop()
	}
}

// leave takes this replica off the board, so that nobody waits for it.
func (b *Board) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	b.leaseEnds.Store(0)
	b.client.HDel(ctx, b.keys.replicas, b.id)
}

// look reads the board once, and says what could not be said before.
func (b *Board) look(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b.mu.Lock()
	life, seen, version := b.life, b.seen, b.version
	args := []any{b.id, life, seen, version, rand.Text(), writeTTL.Milliseconds(), b.ttl.Milliseconds()}
	for token := range b.tokens {
		args = append(args, token)
	}
	unsaid := b.unsaid
	b.unsaid = nil
	b.mu.Unlock()
	for i, s := range unsaid {
		if _, err := b.putUp(ctx, s, ""); err != nil {
			b.mu.Lock()
			b.unsaid = append(unsaid[i:], b.unsaid...)
			b.mu.Unlock()
			return false, err
		}
	}
	asked := time.Since(b.start)
	ended := b.leaseEnds.Load()
	res, err := b.run(ctx, lookScript, args...).Slice()
	if err != nil {
		return false, fmt.Errorf("reading the board: %w", err)
	}
	view, err := viewOf(res)
	if err != nil {
		return false, err
	}
	lapsed := ended != 0 && int64(asked) >= ended
	if lapsed || view.lost && life != "" {
		b.sureFrom.Store(int64(time.Since(b.start) + lease))
	}
	heard = b.take(view, life, lapsed)
	b.leaseEnds.Store(int64(asked + lease))
	return heard, nil
}

// view is what a look brings.
type view struct {
	life    string
	lost    bool // what went before is not known
	seq     int64
	version int64
	record  string
	notices []notice
	writes  []string
}

// notice is a subject and the number of its last notice.
type notice struct {
	Subject
	n int64
}

var errView = errors.New("reading the board: not an answer of the script")

func viewOf(res []any) (v view, err error) {
	if len(res) != 6 {
		return v, errView
	}
	var ok [6]bool
	var notices, writes []any
	v.life, ok[0] = res[0].(string)
	v.seq, ok[1] = res[1].(int64)
	v.version, ok[2] = res[2].(int64)
	v.record, ok[3] = res[3].(string)
	notices, ok[4] = res[4].([]any)
	writes, ok[5] = res[5].([]any)
	if ok != [6]bool{true, true, true, true, true, true} {
		return v, errView
	}
	v.life, v.lost = strings.CutSuffix(v.life, "!")
	for i := 0; i+1 < len(notices); i += 2 {
		text, _ := notices[i].(string)
		score, _ := notices[i+1].(string)
		n, err := strconv.ParseInt(score, 10, 64)
		if err != nil {
			return v, errView
		}
		v.notices = append(v.notices, notice{subjectOf(text), n})
	}
	for _, w := range writes {
		text, _ := w.(string)
		v.writes = append(v.writes, text)
	}
	return v, nil
}

// take makes the view this replica's own. After a lapse of the lease others may have made writes that could
// not be put up: they waited for no more than the lease's end.
func (b *Board) take(v view, known string, lapsed bool) (heard bool) {
	var news []Subject
	b.mu.Lock()
	defer func() {
		b.mu.Unlock()
		for _, s := range news {
			b.hear(s)
		}
	}()
	if v.lost || lapsed {
		b.markAll()
		news = append(news, Subject{Class: Bot}, Subject{Class: Metrics})
	}
	if v.lost {
		b.record, b.version = nil, 0
		if known != "" {
			b.log.Warn("redis has lost what the replicas knew of each other; bots are asked for anew")
		}
	}
	heard = v.lost || v.seq != b.seen
	b.life, b.seen = v.life, v.seq
	for _, s := range v.notices {
		if !b.own[s.n] {
			b.mark(s.Subject)
			news = append(news, s.Subject)
		}
	}
	maps.DeleteFunc(b.own, func(n int64, _ bool) bool { return n <= v.seq })
	clear(b.others)
	for _, w := range v.writes {
		if !strings.HasPrefix(w, b.id) { // one's own are known better: one that has just ended may still be listed
			_, s, _ := strings.Cut(w, "|")
			b.others[subjectOf(s)] = true
		}
	}
	if v.version != b.version {
		b.record, b.version = []byte(v.record), v.version
	}
	return heard
}
