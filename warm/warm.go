// Package warm asks for what users will ask, before they do: when the price data has moved and settled,
// it replays through the proxy, by the way of a user's request, what a journal of past requests and the
// server's lists of bots say will be wanted. It gives way to users, minds how the server does, and runs
// on one replica at a time, which another continues for should it die.
//
// The package knows the proxy as an http.Handler and what World tells, and no more.
package warm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A State is what is known of the price data.
type State struct {
	Date       string // of the newest candle, YYYY-MM-DD
	Generation string // opaque; another one for every change that was seen
	// Provisional is set while a sync is or may be under way: nothing is warmed from data in motion.
	Provisional bool
}

// World is what the loop needs to know and can't learn from the answers to its own requests.
type World interface {
	// Data gives the state of the price data; false while it is not known for sure.
	Data() (State, bool)
	// UsersWaiting is how many requests of users wait for the server now.
	UsersWaiting() int
	// Ask makes a request on Warmfront's own account, as an admin where an admin's login is configured.
	Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)
}

// Options are what a Loop is made of. Without Redis it warms for this process alone.
type Options struct {
	World World
	// Handler answers as it would answer a user, and doesn't note that it did.
	Handler http.Handler
	Host    string // of the server, as in a request's Host

	Redis  redis.UniversalClient
	Prefix string // of keys in Redis

	Enabled     bool
	Concurrency int    // requests at the server
	Journal     int    // requests that are remembered
	Epoch       string // another one makes every old answer unreachable
	Jobs        Jobs   // of the server's own that are done in each run

	Log      *zap.Logger
	Registry prometheus.Registerer
}

// Loop is the warm loop of one replica.
type Loop struct {
	o       Options
	journal *Journal
	ledger  ledger
	metrics *metrics
	log     *zap.Logger

	every, beat time.Duration // how often it looks for a reason to run, and renews the lease
	poke        chan struct{} // there may be one now
	seen        atomic.Pointer[view]
	current     atomic.Pointer[recorder] // of the run on this replica
	follow      followUp
	down        bool // the ledger can't be reached, and that was said
	refused     bool // it can't be written to, and that was said
}

// New makes a Loop that does nothing before Run.
func New(o Options) *Loop {
	m := newMetrics(o.Registry)
	l := &Loop{o: o, metrics: m, log: o.Log.Named("warm"), every: time.Second, beat: beat, poke: make(chan struct{}, 1)}
	l.journal = &Journal{log: l.log, metrics: m, off: !o.Enabled || o.Journal == 0}
	if o.Redis != nil {
		l.ledger = newRedisLedger(o.Redis, o.Prefix, leaseFor)
		l.journal.keeper = newRedisKeeper(o.Redis, o.Prefix, o.Journal, maxJournal)
	} else {
		l.ledger = newMemoryLedger()
		l.journal.keeper = newMemoryKeeper(o.Journal, maxJournal)
	}
	return l
}

// Note remembers a request that was answered with success. It doesn't block.
func (l *Loop) Note(n Note) { l.journal.Note(n) }

// Run warms whenever there is reason to, until ctx ends and everything that it began has ended.
func (l *Loop) Run(ctx context.Context) {
	if !l.o.Enabled {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { l.journal.run(ctx) })
	all.Go(func() { l.watch(ctx) })
	all.Wait()
}

// A target is what a run warms for.
type target struct{ date, generation, epoch string }

// key names a target shortly; "" is none.
func (t target) key() string {
	if t.date == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", t.date, t.generation, t.epoch))
	return hex.EncodeToString(sum[:16])
}

// target is the present one, and whether the data has come to rest.
func (l *Loop) target() (t target, settled bool) {
	s, sure := l.o.World.Data()
	if s.Date == "" {
		return target{}, false
	}
	return target{date: s.Date, generation: s.Generation, epoch: l.o.Epoch}, sure && !s.Provisional
}
