// Package board is what the replicas of one Warmfront tell each other: which bots are being written
// to, which entries to drop, and the state of the data that all agree on. It is kept in Redis;
// without one a replica talks to itself.
//
// Nobody is told by messages, which can get lost, but by reading: every replica looks at the board
// every 75 ms and whenever it is woken, and believes what it saw for a lease of 300 ms. Who
// writes puts up a notice first, and waits until every replica has seen it or has let its lease run
// out. So a request on any replica that comes after the write was let through is answered by one that
// knows of it, or that knows that it may have missed something and asks the server.
package board

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/keying/rule"
)

// A Class is what kind of thing a notice is about.
type Class byte

// The classes. A write to a bot counts for its metrics too.
const (
	Bot     Class = 'b' // a saved bot: strategy, settings, existence
	Metrics Class = 'm' // the metrics saved with a bot
	Data    Class = 'd' // the price data, or the server's own caches
	Key     Class = 'k' // an entry to drop, by its key
	Route   Class = 'r' // a route to be keyed by exact ids from now on
	Grant   Class = 'g' // a caller's grant that has ended
	Answer  Class = 'a' // a bot whose last answer, which its saved metrics are to be of, was given by another replica
	Access  Class = 'p' // a route on which the server has refused somebody
	Caller  Class = 'c' // whom the server has refused on a route, or lets in again
	Foreign Class = 'f' // a bot of which the server may keep a run against another benchmark than the default
)

// A Subject is what a notice is about. An empty name means all of the class.
type Subject struct {
	Class Class
	Name  string
}

const (
	// lookEvery is how often a replica reads the board when nothing wakes it.
	lookEvery = 75 * time.Millisecond
	// lease is for how long what was read is believed. A replica that dies holds up writers as long.
	lease = 300 * time.Millisecond
	// writeTTL is for how long a write counts as under way after its replica was last heard of.
	writeTTL = 30 * time.Second
	// inDoubt is for how long a write without a known end may yet take effect at the server.
	inDoubt = time.Minute
	// endPatience is how long the end of a write waits for Redis to know of it.
	endPatience = 50 * time.Millisecond
	// callTimeout bounds one look.
	callTimeout = 250 * time.Millisecond
	// youth is for how long replicas that were cut off may need to come back to a Redis that has lost everything:
	// once many dials have failed, go-redis tries one a second.
	youth = 2 * time.Second
	// othersSeen is for how long a replica counts as there after its last look.
	othersSeen = 10 * time.Second
	// maxMarks bounds what is remembered of notices, here and in Redis.
	maxMarks = 50_000
)

var errUnsure = errors.New("board: redis has not answered lately")

// Board is one replica's view. All methods are safe for concurrent use.
type Board struct {
	client redis.UniversalClient // nil: alone
	keys   keys
	id     string
	hear   func(Subject)
	log    *zap.Logger
	start  time.Time
	ttl    time.Duration

	old       atomic.Bool           // Redis knows no flags of scripts
	alone     atomic.Bool           // no other replica was there at the last look
	leaseEnds atomic.Int64          // nanoseconds since start
	sureFrom  atomic.Int64          // the same
	grownAt   atomic.Int64          // the same: when the life ceases to be young
	lostAt    atomic.Int64          // the same: when the last outage that is over began
	trouble   atomic.Pointer[error] // of the last look; nil: none
	mute      atomic.Bool           // Redis refuses to publish
	wake      chan struct{}         // holds one: somebody wants a look now
	behind    sync.WaitGroup
	left      atomic.Bool

	looking sync.Mutex // for as long as a look takes
	away    absence

	mu      sync.Mutex
	clock   uint64 // counts notices
	marks   map[Subject]uint64
	all     map[Class]uint64
	mine    map[Subject]int       // writes under way here
	doubts  map[Subject]time.Time // writes of unknown outcome, and until when they count
	others  map[Subject]bool      // writes under way elsewhere, as last read
	tokens  map[string]bool       // of this replica's writes under way
	unsaid  map[saying]bool       // what Redis could not take
	numbers map[Subject]Stamp     // the last notices of class Access
	own     map[int64]bool        // numbers of this replica's notices that are yet to be read
	life    string                // Redis's: it changes when everything in it was lost
	seen    int64                 // the last notice that was read
	record  []byte
	version int64 // of record; 0: none
}

// New makes a board on client, nil for a replica that is alone. What is on it stays for ttl after the
// last replica has left: as long as entries do. hear is called, from one goroutine,
// for each notice of another replica; it must not block.
func New(client redis.UniversalClient, prefix string, ttl time.Duration, hear func(Subject), log *zap.Logger) *Board {
	b := &Board{
		client: client, keys: keysOf(prefix), id: rand.Text(), hear: hear, log: log, start: time.Now(), ttl: max(ttl, time.Minute), wake: make(chan struct{}, 1),
		marks: map[Subject]uint64{}, all: map[Class]uint64{}, mine: map[Subject]int{}, doubts: map[Subject]time.Time{},
		others: map[Subject]bool{}, tokens: map[string]bool{}, unsaid: map[saying]bool{}, own: map[int64]bool{},
		numbers: map[Subject]Stamp{},
	}
	b.alone.Store(true) // as far as is known
	b.away.first = true
	if client == nil {
		b.life = rand.Text()
	}
	return b
}

// Secret is known to this Warmfront's replicas only; "" before Redis has told it.
func (b *Board) Secret() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life
}

// ID names this replica.
func (b *Board) ID() string { return b.id }

// Epoch tells which notice of the class about name was the last: what was learned under another epoch
// may be out of date.
func (b *Board) Epoch(class Class, name string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.all[class], b.marks[Subject{class, name}])
}

// Writing reports whether a write to name is under way on any replica, or one that may yet take effect.
func (b *Board) Writing(class Class, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return (b.writing(Subject{class, name}) || b.writing(Subject{class, ""})) && !rule.Off(rule.WriteUnbelieved)
}

func (b *Board) writing(s Subject) bool {
	if b.mine[s] > 0 || b.others[s] && !b.othersForgotten() {
		return true
	}
	until, ok := b.doubts[s]
	if ok && time.Now().After(until) {
		delete(b.doubts, s)
		return false
	}
	return ok
}

// A Write is one under way. End must be called once.
type Write struct {
	board *Board
	s     Subject
	token string // "" where nobody else need know of it
}

// A saying is a notice, and of one about a write under way the write's token.
type saying struct {
	Subject
	token string
}

// Begin says that a write is about to be sent to the server. It returns when every replica knows, or
// can be told to know that it doesn't.
func (b *Board) Begin(ctx context.Context, s Subject) *Write {
	w := &Write{board: b, s: s}
	b.mu.Lock()
	if !rule.Off(rule.WriteForgets) {
		b.mark(s)
		b.mine[s]++
	}
	b.mu.Unlock()
	if b.client == nil || rule.Off(rule.WriteShared) {
		return w
	}
	w.token = b.id + rand.Text() + "|" + s.text()
	b.mu.Lock()
	b.tokens[w.token] = true
	b.mu.Unlock()
	n, err := int64(0), errUnsure
	if b.InTouch() { // otherwise it is known to be gone, and nobody need wait to be told so
		n, err = b.putUp(ctx, s, w.token)
	}
	if err != nil {
		b.later(s, w.token)
		if s.Class == Access {
			b.later(s, "") // whatever becomes of the token: Stamp goes by it
		}
		b.outwait(ctx)
		return w
	}
	b.await(ctx, n)
	return w
}

// End says that the write is over: certain, when the server has answered; otherwise it may take
// effect yet, and counts as under way for a while.
func (w *Write) End(certain bool) {
	b := w.board
	b.mu.Lock()
	if !rule.Off(rule.WriteForgets) {
		b.mark(w.s)
	}
	if b.mine[w.s]--; b.mine[w.s] <= 0 {
		delete(b.mine, w.s)
	}
	if !certain {
		b.doubt(w.s)
	}
	delete(b.tokens, w.token) // which also ends its being renewed
	delete(b.unsaid, saying{w.s, w.token})
	b.mu.Unlock()
	if w.token == "" {
		return
	}
	if !b.InTouch() {
		b.laterEnded(w, certain)
		return
	}
	// Until they read of the end the others take the write for under way, and keep nothing: they are waited
	// for so that whoever is told of the end finds them at their best. Rightness doesn't depend on it.
	done := make(chan struct{})
	b.behind.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		n, err := b.takeDown(ctx, w, certain)
		if err != nil {
			b.laterEnded(w, certain)
			return
		}
		b.await(ctx, n)
	})
	select {
	case <-done:
	case <-time.After(endPatience):
	}
}

// laterEnded keeps the end of a write for when Redis is back. One that may yet take effect is in doubt from then on.
func (b *Board) laterEnded(w *Write, certain bool) {
	if certain {
		b.later(w.s, "")
	} else {
		b.later(w.s, w.token)
	}
}

// doubt notes a write of unknown outcome. The caller holds mu.
func (b *Board) doubt(s Subject) {
	now := time.Now()
	maps.DeleteFunc(b.doubts, func(_ Subject, until time.Time) bool { return now.After(until) })
	b.doubts[s] = now.Add(inDoubt)
}

// Post puts up a notice that nobody waits for.
func (b *Board) Post(s Subject) {
	b.mu.Lock()
	b.mark(s)
	b.mu.Unlock()
	switch {
	case b.client == nil:
		return
	case !b.InTouch():
		b.later(s, "")
		return
	}
	b.behind.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		if _, err := b.putUp(ctx, s, ""); err != nil {
			b.later(s, "")
		}
	})
}

// later keeps a notice for when Redis is back. Past the bound all of its class is said to have changed.
func (b *Board) later(s Subject, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.unsaid) >= maxMarks {
		maps.DeleteFunc(b.unsaid, func(said saying, _ bool) bool { return said.Class == s.Class && !b.tokens[said.token] })
		b.unsaid[saying{Subject{Class: s.Class}, ""}] = true
	}
	b.unsaid[saying{s, token}] = true
}

// mark notes that s has changed. The caller holds mu.
func (b *Board) mark(s Subject) {
	b.clock++
	if s.Name == "" {
		b.all[s.Class] = b.clock
		return
	}
	if _, ok := b.marks[s]; !ok && len(b.marks) >= maxMarks {
		b.markAll()
	}
	b.marks[s] = b.clock
}

// markAll notes that anything may have changed. The caller holds mu.
func (b *Board) markAll() {
	clear(b.marks)
	b.clock++
	for _, class := range []Class{Bot, Metrics, Data, Grant, Access} {
		b.all[class] = b.clock
	}
}

// Record gives what was last agreed on, and its version: 0 when there is nothing.
func (b *Board) Record() (record []byte, version int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record, b.version
}

// Propose replaces the record, if it still has the version, and gives the new one; 0 if it had not. No two
// records have the same version.
func (b *Board) Propose(ctx context.Context, record []byte, version int64) (next int64, err error) {
	next = version + 1
	if b.client != nil {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if next, err = b.propose(ctx, record, version); err != nil || next == 0 {
			b.Look()
			return 0, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.version != version {
		// A look has overtaken us: it read ours, or something newer; in memory, somebody was faster.
		if b.client == nil {
			next = 0
		}
		return next, nil
	}
	b.record, b.version = record, next
	return next, nil
}

// Look makes the next look happen now.
func (b *Board) Look() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// text spells a subject for Redis.
func (s Subject) text() string { return string(s.Class) + s.Name }

func subjectOf(text string) Subject {
	if text == "" {
		return Subject{}
	}
	return Subject{Class(text[0]), text[1:]}
}
