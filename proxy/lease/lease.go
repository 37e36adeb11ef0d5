// Package lease lets one replica at a time do a thing, by a key in Redis that lives for a moment unless its
// holder renews it. A replica that dies is succeeded within two seconds; one that was only slow finds its lease
// another's, and can neither renew nor end that. Nothing right depends on a lease: two may do the same
// thing at once when Redis loses a key, or does not say.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// term is how long a lease lasts after it was last renewed, renewEvery how often that is.
	term       = 1500 * time.Millisecond
	renewEvery = 400 * time.Millisecond
	// takePatience bounds how long anybody waits for Redis to say whose a lease is.
	takePatience = 50 * time.Millisecond
	// callTimeout bounds a call that nobody waits for.
	callTimeout = 500 * time.Millisecond
	// Who waits for a lease asks again this often, at first and at most: the notice of its end may get lost.
	firstPoll = 50 * time.Millisecond
	lastPoll  = 250 * time.Millisecond
)

var (
	// ErrTaken means that another replica has the lease.
	ErrTaken = errors.New("lease: another replica has it")
	// ErrUnknown means that Redis is not there, or does not say in time.
	ErrUnknown = errors.New("lease: redis does not say whose it is")
)

// Leases are those of one Warmfront, as one of its replicas sees them. A nil one knows of no other replica: every
// lease is unknown.
type Leases struct {
	client  redis.UniversalClient
	prefix  string
	ended   string // channel: name and note of a lease that has ended
	inTouch func() bool
	behind  sync.WaitGroup

	waiting struct {
		sync.Mutex
		byName map[string]map[*Watch]bool
	}
}

// New gives leases on client; nil for none. While inTouch says that Redis can't be reached nobody waits for it.
func New(client redis.UniversalClient, prefix string, inTouch func() bool) *Leases {
	if client == nil {
		return nil
	}
	l := &Leases{client: client, prefix: prefix + "lease:", ended: prefix + "lease-ended", inTouch: inTouch}
	l.waiting.byName = map[string]map[*Watch]bool{}
	return l
}

// Run hears of leases that end until ctx does.
func (l *Leases) Run(ctx context.Context) {
	if l == nil {
		return
	}
	notices := l.client.Subscribe(ctx, l.ended)
	defer notices.Close()
	heard := notices.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-heard:
			if !ok {
				return
			}
			name, note, _ := strings.Cut(m.Payload, "\n")
			l.tell(name, note)
		}
	}
}

// Close waits for what goes on behind leases that have ended.
func (l *Leases) Close() {
	if l != nil {
		l.behind.Wait()
	}
}

// Take makes this replica the lease's holder. The error is ErrTaken or ErrUnknown, at the latest after 50 ms, or ctx's.
func (l *Leases) Take(ctx context.Context, name string) (*Lease, error) {
	return l.take(ctx, name, takePatience)
}

func (l *Leases) take(ctx context.Context, name string, patience time.Duration) (*Lease, error) {
	if l == nil || !l.inTouch() {
		return nil, ErrUnknown
	}
	h := &Lease{of: l, name: name, token: rand.Text(), released: make(chan struct{})}
	answer, gone := make(chan error), make(chan struct{})
	l.behind.Go(func() {
		err := h.take(context.WithoutCancel(ctx))
		select {
		case answer <- err:
		case <-gone:
			if err == nil { // too late
				h.end("")
			}
		}
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-answer:
		if err != nil {
			return nil, err
		}
		l.behind.Go(h.renew)
		return h, nil
	case <-timer.C:
		close(gone)
		return nil, ErrUnknown
	case <-ctx.Done():
		close(gone)
		return nil, ctx.Err()
	}
}

// Acquire waits for the lease, on nobody's request: Redis may take its time. The error is ErrUnknown or ctx's.
func (l *Leases) Acquire(ctx context.Context, name string) (*Lease, error) {
	w := l.Watch(name)
	defer w.Stop()
	for {
		h, err := l.take(ctx, name, callTimeout)
		if !errors.Is(err, ErrTaken) {
			return h, err
		}
		if _, err := w.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// A Lease is this replica's until it is released, or can't be renewed.
type Lease struct {
	of          *Leases
	name, token string
	released    chan struct{}
	once        sync.Once
}

func (h *Lease) key() []string { return []string{h.of.prefix + h.name} }

func (h *Lease) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	won, err := h.of.client.SetNX(ctx, h.key()[0], h.token, term).Result()
	switch {
	case err != nil:
		return errors.Join(ErrUnknown, err)
	case !won:
		return ErrTaken
	}
	return nil
}

// Only its holder renews or ends a lease. A Redis that lets nobody publish still ends it.
var (
	renewScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
	endScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1`)
)

func (h *Lease) renew() {
	every := time.NewTicker(renewEvery)
	defer every.Stop()
	for {
		select {
		case <-h.released:
			return
		case <-every.C:
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			mine, err := renewScript.Run(ctx, h.of.client, h.key(), h.token, term.Milliseconds()).Bool()
			cancel()
			if err == nil && !mine {
				return // another's by now
			}
		}
	}
}

// Release ends the lease, behind the caller, and has note told to those who wait for it, on all replicas. Releasing
// again, or none, does nothing.
func (h *Lease) Release(note string) {
	if h == nil {
		return
	}
	h.once.Do(func() {
		close(h.released)
		h.of.behind.Go(func() { h.end(note) })
	})
}

// ReleaseAfter is Release once note gives one.
func (h *Lease) ReleaseAfter(note func() string) {
	h.of.behind.Go(func() { h.Release(note()) })
}

func (h *Lease) end(note string) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	endScript.Run(ctx, h.of.client, h.key(), h.token, h.of.ended, h.name+"\n"+note)
}
