package proxy

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// lastAnswers is what the replicas agree on, in Redis, of each bot: which variant of a run its last answer was of,
// whichever replica gave it, and which one's metrics the server refuses. Times are by Redis's clock, in
// microseconds. A nil one knows nothing: there is no other replica.
type lastAnswers struct {
	redis   redis.UniversalClient
	inTouch func() bool
	prefix  string
	ttl     time.Duration

	clock struct {
		sync.Mutex
		began  time.Time     // what was read at began...
		redis  int64         // ...was this,
		within time.Duration // give or take so much
	}
}

const (
	// answersPatience bounds a call. No request waits for one, so that a Redis that is only slow has its time.
	answersPatience = 2 * time.Second
	// refusedFor is how long metrics that the server refused are not sent again.
	refusedFor = 10 * time.Minute
)

func newLastAnswers(client redis.UniversalClient, inTouch func() bool, prefix string, ttl time.Duration) *lastAnswers {
	if client == nil {
		return nil
	}
	return &lastAnswers{redis: client, inTouch: inTouch, prefix: prefix + "answered:", ttl: max(ttl, time.Minute)}
}

// standing is how an answer stands to the bot's last one.
type standing int

const (
	unknownOrder standing = iota // Redis does not say
	isLastAnswer                 // it was already, or another of the same variant
	becameLast
	answeredSince // another variant was given later
)

// putScript: ARGV is the variant, when it was given, for how long it is remembered (ms). It gives the standing, and
// 1 when the server refuses the variant's metrics.
var putScript = redis.NewScript(`local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local last = redis.call('HMGET', KEYS[1], 'variant', 'at', 'refused', 'until')
local refused, standing = 0, 1
local at, before = math.min(tonumber(ARGV[2]), now), tonumber(last[2] or '0')
if before > now then before = 0 end -- the clock was set back
if last[3] == ARGV[1] and tonumber(last[4] or '0') > now then refused = 1 end
if last[1] ~= ARGV[1] then
	if before > at then return {3, refused} end
	standing = 2
end
redis.call('HSET', KEYS[1], 'variant', ARGV[1], 'at', string.format('%.0f', math.max(at, before)))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {standing, refused}`)

// put notes that an answer of the variant was given at a time, and tells whether it is the last.
func (l *lastAnswers) put(ctx context.Context, bot, variant string, at time.Time) (s standing, refused bool) {
	if l == nil || !l.inTouch() {
		return unknownOrder, false
	}
	ctx, cancel := context.WithTimeout(ctx, answersPatience)
	defer cancel()
	stamp, err := l.stamp(ctx, at)
	if err != nil {
		return unknownOrder, false
	}
	said, err := putScript.Run(ctx, l.redis, []string{l.prefix + bot}, variant, stamp, l.ttl.Milliseconds()).Int64Slice()
	if err != nil || len(said) != 2 {
		return unknownOrder, false
	}
	return standing(said[0]), said[1] == 1
}

// get gives the variant that was answered last, and whether it was given after the time; "" when that isn't known.
func (l *lastAnswers) get(ctx context.Context, bot string, at time.Time) (variant string, after bool) {
	if l == nil || !l.inTouch() {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, answersPatience)
	defer cancel()
	stamp, err := l.stamp(ctx, at)
	if err != nil {
		return "", false
	}
	said, err := l.redis.HMGet(ctx, l.prefix+bot, "variant", "at").Result()
	if err != nil || len(said) != 2 {
		return "", false
	}
	variant, _ = said[0].(string)
	text, _ := said[1].(string)
	last, err := strconv.ParseInt(text, 10, 64)
	return variant, err == nil && last > stamp
}

const (
	// clockEnough is how well Redis's clock is to be known: answers are rarely given closer to each other. On a busy machine
	// most reads are slow, and the quickest of a few would be wrong by milliseconds.
	clockEnough = 300 * time.Microsecond
	clockReads  = 64
	// clockLasts is for how long two clocks go together.
	clockLasts = 30 * time.Second
)

// stamp gives a time of here by Redis's clock. The quickest of some reads tells best what it shows.
func (l *lastAnswers) stamp(ctx context.Context, at time.Time) (int64, error) {
	l.clock.Lock()
	defer l.clock.Unlock()
	if l.clock.began.IsZero() || time.Since(l.clock.began) > clockLasts {
		l.clock.within = time.Hour
		for range clockReads {
			asked := time.Now()
			shown, err := l.redis.Time(ctx).Result()
			if err != nil {
				return 0, err
			}
			if took := time.Since(asked); took/2 < l.clock.within {
				l.clock.began, l.clock.redis, l.clock.within = asked.Add(took/2), shown.UnixMicro(), took/2
			}
			if l.clock.within < clockEnough {
				break
			}
		}
	}
	return l.clock.redis + at.Sub(l.clock.began).Microseconds(), nil
}

// refuseScript: ARGV is the variant, for how long it counts (µs), for how long it is remembered (ms).
var refuseScript = redis.NewScript(`local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'refused', ARGV[1], 'until', string.format('%.0f', t[1] * 1000000 + t[2] + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)

// refuse has all replicas know that the server refuses the variant's metrics.
func (l *lastAnswers) refuse(ctx context.Context, bot, variant string) {
	if l == nil || !l.inTouch() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answersPatience)
	defer cancel()
	refuseScript.Run(ctx, l.redis, []string{l.prefix + bot}, variant, refusedFor.Microseconds(), l.ttl.Milliseconds())
}
