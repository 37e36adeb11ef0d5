package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Looks is where the replicas note in Redis when one of them last looked at the server's data, so that one look is
// enough for all. What it found is on the board. A nil one knows of no other replica.
type Looks struct {
	client redis.UniversalClient
	key    string
}

// NewLooks notes looks on client; nil for none.
func NewLooks(client redis.UniversalClient, prefix string) *Looks {
	if client == nil {
		return nil
	}
	return &Looks{client, prefix + "looked"}
}

const (
	// looksPatience bounds a call: looks go on without Redis.
	looksPatience = 250 * time.Millisecond
	// looksTTL is for how long a look is remembered, longer than any is believed.
	looksTTL = time.Hour
	// followEvery is how often a replica reads what the one that looks has found, at least.
	followEvery = time.Second
)

// pastLook is one that has ended.
type pastLook struct {
	replica      string
	began, ended time.Time
	version      int64 // of the board's record that it left
	down         bool  // it found the server down
}

var errNoLook = errors.New("no look is noted")

// noteLookScript: ARGV is the replica, how long ago the look began and ended (µs), the record's version, down, the TTL (ms).
// Of two looks the one that ended later counts, but for one that a clock which was set back puts into the future.
var noteLookScript = redis.NewScript(`local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ended = now - ARGV[3]
local last = tonumber(redis.call('HGET', KEYS[1], 'ended') or '0')
if last > ended and last <= now then return 0 end
redis.call('HSET', KEYS[1], 'replica', ARGV[1], 'began', string.format('%.0f', now - ARGV[2]), 'ended', string.format('%.0f', ended),
	'version', ARGV[4], 'down', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1`)

func (l *Looks) note(ctx context.Context, k pastLook) {
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, looksPatience)
	defer cancel()
	noteLookScript.Run(ctx, l.client, []string{l.key}, k.replica, time.Since(k.began).Microseconds(), time.Since(k.ended).Microseconds(),
		k.version, k.down, looksTTL.Milliseconds())
}

// lastLookScript gives the replica, how long ago its look began and ended (µs), the version, and down.
var lastLookScript = redis.NewScript(`local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local l = redis.call('HMGET', KEYS[1], 'replica', 'began', 'ended', 'version', 'down')
if not l[5] then return {} end
return {l[1], now - l[2], now - l[3], tonumber(l[4]), tonumber(l[5])}`)

// last gives the last look of any replica, no younger than it is.
func (l *Looks) last(ctx context.Context) (pastLook, error) {
	if l == nil {
		return pastLook{}, errNoLook
	}
	ctx, cancel := context.WithTimeout(ctx, looksPatience)
	defer cancel()
	asked := time.Now()
	said, err := lastLookScript.Run(ctx, l.client, []string{l.key}).Slice()
	if err != nil || len(said) != 5 {
		return pastLook{}, errors.Join(errNoLook, err)
	}
	replica, _ := said[0].(string)
	var n [4]int64
	for i := range n {
		var ok bool
		if n[i], ok = said[i+1].(int64); !ok || n[i] < 0 {
			return pastLook{}, errNoLook
		}
	}
	ago := func(micros int64) time.Time { return asked.Add(-time.Duration(micros) * time.Microsecond) }
	return pastLook{replica, ago(n[0]), ago(n[1]), n[2], n[3] == 1}, nil
}

// grace is by how much later than its own next look another replica's may come before this one looks itself.
func (d *DataWatch) grace() time.Duration { return d.set.Interval/4 + 250*time.Millisecond }

// follow takes another replica's last look for one of its own, if it still counts, and says when to ask for the next.
// It reports false when this replica is to look itself: because it is the one that looks, nobody does, the server was found
// down, which may not be so from here, or it has to tell, or is asked about, what the others don't know.
func (d *DataWatch) follow(ctx context.Context) (wait time.Duration, ok bool) {
	if d.set.Looks == nil || d.askedAt.Load() == 0 || !d.board.Sure() {
		return 0, false
	}
	k, err := d.set.Looks.last(ctx)
	due := d.set.Interval + d.grace() - time.Since(k.ended)
	switch {
	case err != nil, k.replica == d.board.ID(), due <= 0:
		return 0, false
	case k.down:
		d.askedAt.Store(0)
		return 0, false
	case d.ownNews():
		return 0, false
	}
	wait = min(due, max(d.set.Interval/4, 50*time.Millisecond), followEvery)
	if _, version := d.board.Record(); version < k.version {
		d.board.Look() // what it found is still to be read
		return min(wait, 20*time.Millisecond), true
	}
	d.askedAt.Store(max(d.askedAt.Load(), k.ended.UnixNano()))
	d.lookedAt.Store(max(d.lookedAt.Load(), k.began.UnixNano()))
	d.endedAt.Store(max(d.endedAt.Load(), k.began.UnixNano()))
	return wait, true
}

// ownNews reports whether this replica knows, or is asked about, what the others can't look at for it.
func (d *DataWatch) ownNews() bool {
	d.mu.Lock()
	state, owes := d.state, d.version == ownVersion || len(d.owed) > 0
	d.mu.Unlock()
	if state == nil || owes {
		return true
	}
	for _, ticker := range d.watched(state.record) {
		if _, known := state.record.Tickers[ticker]; !known && !d.asked[ticker] {
			return true
		}
	}
	return false
}

// looked has the other replicas know of a look of this one, and remembers what it was about.
func (d *DataWatch) looked(ctx context.Context, began time.Time, err error) {
	d.mu.Lock()
	state, own := d.state, d.version == ownVersion
	d.mu.Unlock()
	down := errors.Is(err, ErrDown)
	if state == nil || own || err != nil && !down || ctx.Err() != nil {
		return
	}
	d.asked = map[string]bool{}
	for _, ticker := range d.watched(state.record) {
		d.asked[ticker] = true
	}
	_, version := d.board.Record()
	d.set.Looks.note(ctx, pastLook{d.board.ID(), began, time.Now(), version, down})
}
