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

func (b *Board) putUp(ctx context.Context, s Subject, token string) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return b.ours(s, b.run(ctx, putUpScript, s.text(), token, writeTTL.Milliseconds(), maxMarks, b.keys.wake))
}

// sayAtOnce bounds what is put up in one go.
const sayAtOnce = 500

// say puts up what Redis could not take before.
func (b *Board) say(ctx context.Context) error {
	for {
		// A write under way is renewed at the next look; one in doubt is not.
		args := []any{inDoubt.Milliseconds(), maxMarks, b.keys.wake}
		var now []saying
		b.mu.Lock()
		for s := range b.unsaid {
			if now = append(now, s); len(now) == sayAtOnce {
				break
			}
		}
		b.mu.Unlock()
		if len(now) == 0 {
			return nil
		}
		for _, s := range now {
			args = append(args, s.text(), s.token)
		}
		if err := b.sayThese(ctx, now, args); err != nil {
			return err
		}
	}
}

func (b *Board) sayThese(ctx context.Context, these []saying, args []any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	numbers, err := b.run(ctx, sayScript, args...).Int64Slice()
	if err != nil || len(numbers) != 2*len(these) {
		return errors.Join(errView, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range these {
		delete(b.unsaid, s)
		b.noteOwn(numbers[2*i], numbers[2*i+1])
		b.numbered(s.Subject, numbers[2*i])
	}
	return nil
}

// ours remembers the number of a notice of this replica's own: reading it is no news, unless it has
// taken the place of one that was.
func (b *Board) ours(s Subject, res *redis.Cmd) (n int64, err error) {
	numbers, err := res.Int64Slice()
	if err != nil || len(numbers) != 2 {
		return 0, errors.Join(err, errView)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteOwn(numbers[0], numbers[1])
	b.numbered(s, numbers[0])
	return numbers[0], nil
}

func (b *Board) noteOwn(n, before int64) {
	if before <= b.seen || b.own[before] {
		b.own[n] = true
	}
}

func (b *Board) takeDown(ctx context.Context, w *Write, certain bool) (n int64, err error) {
	still := int64(0)
	if !certain {
		still = inDoubt.Milliseconds()
	}
	return b.ours(w.s, b.run(ctx, takeDownScript, w.s.text(), w.token, still, b.keys.wake))
}

func (b *Board) propose(ctx context.Context, record []byte, version int64) (next int64, err error) {
	next, err = b.run(ctx, proposeScript, version, record, b.keys.wake).Int64()
	if err != nil {
		return 0, fmt.Errorf("proposing a record to the board: %w", err)
	}
	return next, nil
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
	var wakes *redis.PubSub
	var woken <-chan *redis.Message
	deaf := func() {
		if wakes != nil {
			_ = wakes.Close()
		}
		wakes, woken = nil, nil
	}
	defer func() { deaf() }()
	for {
		heard, err := b.look(ctx)
		if err == nil {
			b.trouble.Store(nil)
		} else {
			b.trouble.Store(&err)
		}
		switch {
		case b.mute.Load():
			deaf() // go-redis would dial again and again to be refused
		case wakes == nil:
			wakes = b.client.Subscribe(ctx, b.keys.wake)
			woken = wakes.Channel()
		}
		wait := lookEvery
		if err == nil && heard {
			wait = 0 // somebody waits to be told that we have read it
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			b.Leave(context.Background())
			return
		case <-timer.C:
		case <-b.wake:
		case <-woken:
		}
		timer.Stop()
	}
}

// Leave takes this replica off the board, so that nobody waits for it, once what it has to say is said. Nothing is
// believed, or looked at, any more.
func (b *Board) Leave(ctx context.Context) {
	if b.client == nil || b.left.Swap(true) {
		return
	}
	said := make(chan struct{})
	go func() { b.behind.Wait(); close(said) }()
	select {
	case <-said:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	b.looking.Lock()
	defer b.looking.Unlock()
	b.leaseEnds.Store(0)
	b.client.HDel(ctx, b.keys.replicas, b.id)
}

// look reads the board once, and says what could not be said before.
func (b *Board) look(ctx context.Context) (heard bool, err error) {
	b.looking.Lock()
	defer b.looking.Unlock()
	if b.left.Load() {
		return false, errUnsure
	}
	if err := b.say(ctx); err != nil {
		b.away.failed = true
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b.mu.Lock()
	life, seen, version := b.life, b.seen, b.version
	args := []any{b.id, life, seen, version, rand.Text(), writeTTL.Milliseconds(), b.ttl.Milliseconds(), othersSeen.Milliseconds()}
	for token := range b.tokens {
		args = append(args, token)
	}
	b.mu.Unlock()
	asked := time.Since(b.start)
	ended := b.leaseEnds.Load()
	res, err := b.run(ctx, lookScript, args...).Slice()
	if err != nil {
		b.away.failed = true
		return false, fmt.Errorf("reading the board: %w", err)
	}
	view, err := viewOf(res)
	if err != nil {
		return false, err
	}
	if view.others > 0 || view.age > othersSeen { // in a younger life they may not have looked yet
		b.alone.Store(view.others == 0)
	}
	if life == "" || b.mute.Load() {
		err := b.client.Publish(ctx, b.keys.wake, "").Err() // the others should know of this replica at once
		b.mute.Store(err != nil && strings.Contains(err.Error(), "NOPERM"))
	}
	b.grownAt.Store(int64(asked + youth - view.age))
	now := time.Since(b.start)
	b.away.lost = b.away.lost || view.lost
	b.away.lapsed = b.away.lapsed || ended != 0 && int64(now) >= ended
	if ended != 0 && (b.away.lapsed || view.age <= lease) {
		b.lostAt.Store(min(ended, int64(now)))
	}
	if view.age <= lease {
		// In so young a life a replica may not have said yet what it is writing to.
		b.leaseEnds.Store(0)
		return b.take(view, life, false), nil
	}
	if until := int64(b.away.until(now, now-view.age, b.alone.Load())); until > b.sureFrom.Load() {
		b.sureFrom.Store(until)
	}
	heard = b.take(view, life, b.away.lapsed)
	b.away = absence{}
	b.leaseEnds.Store(int64(asked + lease))
	return heard, nil
}

// absence is what has happened since the board was last believed.
type absence struct {
	lost   bool // what was on it
	lapsed bool // the lease
	failed bool // a look did: others may have been cut off too, and be so still
	first  bool // it never was
}

// until is when nothing can have been missed any more, for a replica that has come back now to a board born then:
// others may have yet to say what they could not say meanwhile.
func (a absence) until(now, born time.Duration, alone bool) time.Duration {
	switch {
	case a.lost && a.first: // nothing is believed yet that was to be revoked
		return born + youth
	case a.lost && a.failed && !alone:
		return born + youth + lease
	case a.lapsed && a.failed && !alone:
		return now + youth
	case a.lapsed && now-born > 2*lease: // a younger life has let the others speak first already
		return now + lease
	}
	return 0
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
	age     time.Duration // of the life
	others  int64         // replicas that have looked lately
}

// notice is a subject and the number of its last notice.
type notice struct {
	Subject
	n int64
}

var errView = errors.New("reading the board: not an answer of the script")

func viewOf(res []any) (v view, err error) {
	if len(res) != 8 {
		return v, errView
	}
	var ok [8]bool
	var notices, writes []any
	v.life, ok[0] = res[0].(string)
	v.seq, ok[1] = res[1].(int64)
	v.version, ok[2] = res[2].(int64)
	v.record, ok[3] = res[3].(string)
	notices, ok[4] = res[4].([]any)
	writes, ok[5] = res[5].([]any)
	var age int64
	age, ok[6] = res[6].(int64)
	v.others, ok[7] = res[7].(int64)
	if ok != [8]bool{true, true, true, true, true, true, true, true} {
		return v, errView
	}
	v.age = time.Duration(age) * time.Millisecond
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
		clear(b.own) // their numbers are given out again
		if known != "" {
			b.log.Warn("redis has lost what the replicas knew of each other; bots are asked for anew")
		}
	}
	heard = v.lost || v.seq != b.seen
	b.life, b.seen = v.life, v.seq
	for _, s := range v.notices {
		b.numbered(s.Subject, s.n) // one's own too
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
