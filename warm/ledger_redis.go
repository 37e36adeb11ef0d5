package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// leaseFor is how long a holder may be silent before another replica takes over.
	leaseFor = 5 * time.Second
	// beat is how often the holder renews it, and beats how many of these pass before it takes the
	// lease for lost: sooner than Redis does, so that two never run at once.
	beat  = 1500 * time.Millisecond
	beats = 3
	// runFor is how long a run that nobody goes on with is remembered.
	runFor = time.Hour
	// wantFor is how long a start by hand waits for a replica that can.
	wantFor = time.Hour
)

// The keys of the ledger, all in one hash slot.
const (
	keyLease  = iota // string: the holder's token
	keyFence         // counter that tokens are drawn from
	keyRun           // hash: info, stage, total, n:<outcome>, why:<reason>
	keyDone          // set of the requests that the run is done with
	keyWanted        // string: a run is asked for
	keyHalt          // string: the run's end is asked for
	keyLast          // string: the last report
	keyWarmed        // list of the data last warmed for, newest first
	ledgerKeys
)

// redisLedger is the ledger that replicas share. A replica that has lost its lease, however late it
// notices, can change nothing: every write is a script that compares the token first.
type redisLedger struct {
	client redis.UniversalClient
	keys   []string
	lease  time.Duration
}

func newRedisLedger(client redis.UniversalClient, prefix string, lease time.Duration) *redisLedger {
	l := &redisLedger{client: client, lease: lease, keys: make([]string, ledgerKeys)}
	for i, name := range []string{"lease", "fence", "run", "done", "wanted", "halt", "last", "warmed"} {
		l.keys[i] = prefix + "{warm}:" + name
	}
	return l
}

const fencedLua = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
`

var (
	acquireScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
local token = string.format('%d', redis.call('INCR', KEYS[2]))
redis.call('SET', KEYS[1], token, 'PX', ARGV[1], 'NX')
return token`)

	// renewScript: token, lease, life of a run.
	renewScript = redis.NewScript(fencedLua + `
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[3])
return redis.call('EXISTS', KEYS[6])`)

	releaseScript = redis.NewScript(fencedLua + `return redis.call('DEL', KEYS[1])`)

	// beginScript: token, life, info. It gives the fields of the run that goes on, or none.
	beginScript = redis.NewScript(fencedLua + `
redis.call('DEL', KEYS[5])
local old = redis.call('HGET', KEYS[3], 'info')
if old then
  local ok, o = pcall(cjson.decode, old)
  if ok and type(o) == 'table' and o['for'] == cjson.decode(ARGV[3])['for'] then
    return redis.call('HGETALL', KEYS[3])
  end
end
if not old then redis.call('DEL', KEYS[6]) end
redis.call('DEL', KEYS[3], KEYS[4])
redis.call('HSET', KEYS[3], 'info', ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return {}`)

	// recordScript: token, life, stage, total, number of counts, then name and n of each, then the IDs.
	recordScript = redis.NewScript(fencedLua + `
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], 'stage', ARGV[3]) end
if ARGV[4] ~= '-1' then redis.call('HSET', KEYS[3], 'total', ARGV[4]) end
local at = 6
for i = 1, tonumber(ARGV[5]) do
  redis.call('HINCRBY', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do redis.call('SADD', KEYS[4], ARGV[i]) end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('PEXPIRE', KEYS[4], ARGV[2])
return 1`)

	// finishScript: token, life of the report, report, warmed, how many of those are remembered.
	finishScript = redis.NewScript(fencedLua + `
redis.call('DEL', KEYS[3], KEYS[4], KEYS[6])
redis.call('SET', KEYS[7], ARGV[3], 'PX', ARGV[2])
if ARGV[4] ~= '' then
  redis.call('LREM', KEYS[8], 0, ARGV[4])
  redis.call('LPUSH', KEYS[8], ARGV[4])
  redis.call('LTRIM', KEYS[8], 0, tonumber(ARGV[5]) - 1)
  redis.call('PEXPIRE', KEYS[8], ARGV[2])
end
return 1`)

	// foundScript: life, data.
	foundScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[7], KEYS[8]) > 0 then return 0 end
redis.call('LPUSH', KEYS[8], ARGV[2])
redis.call('PEXPIRE', KEYS[8], ARGV[1])
return 1`)

	wantScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('SET', KEYS[5], '1', 'PX', ARGV[1])
return 1`)

	haltScript = redis.NewScript(`
redis.call('DEL', KEYS[5])
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('SET', KEYS[6], '1', 'PX', ARGV[1]) end
return 1`)
)

// run evaluates a script over all keys of the ledger.
func (l *redisLedger) run(ctx context.Context, what string, s *redis.Script, args ...any) *redis.Cmd {
	cmd := s.Run(ctx, l.client, l.keys, args...)
	if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
		if strings.Contains(err.Error(), "FENCED") {
			err = errFenced
		}
		cmd.SetErr(fmt.Errorf("warm: %s: %w", what, err))
	}
	return cmd
}

func (l *redisLedger) acquire(ctx context.Context) (string, error) {
	return l.run(ctx, "taking the lease", acquireScript, l.lease.Milliseconds()).Text()
}

func (l *redisLedger) renew(ctx context.Context, token string) (bool, error) {
	return l.run(ctx, "renewing the lease", renewScript, token, l.lease.Milliseconds(), runFor.Milliseconds()).Bool()
}

func (l *redisLedger) release(ctx context.Context, token string) error {
	return l.run(ctx, "releasing the lease", releaseScript, token).Err()
}

func (l *redisLedger) found(ctx context.Context, what string) error {
	return l.run(ctx, "noting the data that was found", foundScript, journalTTL.Milliseconds(), what).Err()
}

func (l *redisLedger) want(ctx context.Context) error {
	return l.run(ctx, "asking for a run", wantScript, wantFor.Milliseconds()).Err()
}

func (l *redisLedger) halt(ctx context.Context) error {
	return l.run(ctx, "asking for the end of the run", haltScript, runFor.Milliseconds()).Err()
}

func (l *redisLedger) look(ctx context.Context, what string) (view, error) {
	pipe := l.client.Pipeline()
	run := pipe.HGetAll(ctx, l.keys[keyRun])
	held := pipe.Exists(ctx, l.keys[keyLease])
	wanted := pipe.Exists(ctx, l.keys[keyWanted])
	last := pipe.Get(ctx, l.keys[keyLast])
	warmed := pipe.LRange(ctx, l.keys[keyWarmed], 0, maxRecent-1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return view{}, fmt.Errorf("warm: looking at the ledger: %w", err)
	}
	v := view{held: held.Val() == 1, wanted: wanted.Val() == 1, warmed: recent(warmed.Val()).has(what)}
	v.run, v.tally = readRun(run.Val())
	var r Report
	if json.Unmarshal([]byte(last.Val()), &r) == nil {
		v.last = &r
	}
	v.fresh = v.last == nil && len(warmed.Val()) == 0
	return v, nil
}

// readRun reads the hash of a run, leniently: what can't be read is not there.
func readRun(fields map[string]string) (*runInfo, tally) {
	t := newTally()
	var info runInfo
	if json.Unmarshal([]byte(fields["info"]), &info) != nil {
		return nil, t
	}
	t.stage = fields["stage"]
	t.total, _ = strconv.Atoi(fields["total"])
	for name, value := range fields {
		n, err := strconv.Atoi(value)
		if o, ok := strings.CutPrefix(name, "n:"); ok && err == nil {
			t.counts[outcome(o)] = n
		}
		if reason, ok := strings.CutPrefix(name, "why:"); ok && err == nil {
			t.reasons[reason] = n
		}
	}
	return &info, t
}

func (l *redisLedger) begin(ctx context.Context, token string, run *runInfo) (map[string]bool, tally, error) {
	info, err := json.Marshal(run)
	if err != nil {
		return nil, tally{}, fmt.Errorf("warm: beginning a run: %w", err)
	}
	pairs, err := l.run(ctx, "beginning a run", beginScript, token, runFor.Milliseconds(), info).StringSlice()
	if err != nil {
		return nil, tally{}, err
	}
	fields := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	old, t := readRun(fields)
	done := map[string]bool{}
	if old == nil {
		return done, t, nil
	}
	*run = *old
	for cursor := uint64(0); ; {
		ids, next, err := l.client.SScan(ctx, l.keys[keyDone], cursor, "", 1000).Result()
		if err != nil {
			return nil, tally{}, fmt.Errorf("warm: reading what a run is done with: %w", err)
		}
		for _, id := range ids {
			done[id] = true
		}
		if cursor = next; cursor == 0 {
			return done, t, nil
		}
	}
}

func (l *redisLedger) record(ctx context.Context, token string, d delta) error {
	args := []any{token, runFor.Milliseconds(), d.stage, d.total, len(d.counts) + len(d.reasons)}
	for o, n := range d.counts {
		args = append(args, "n:"+string(o), n)
	}
	for reason, n := range d.reasons {
		args = append(args, "why:"+reason, n)
	}
	for _, id := range d.ids {
		args = append(args, id)
	}
	return l.run(ctx, "recording progress", recordScript, args...).Err()
}

func (l *redisLedger) finish(ctx context.Context, token string, r *Report, warmed string) error {
	report, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("warm: finishing a run: %w", err)
	}
	return l.run(ctx, "finishing a run", finishScript, token, journalTTL.Milliseconds(), report, warmed, maxRecent).Err()
}
