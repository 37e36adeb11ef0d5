package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"warmfront/keying/rule"
	"warmfront/proxy/board"
)

// DataState is what is known of the price data at one moment. It is immutable.
type DataState struct {
	// Date is the newest candle's date of the canaries, YYYY-MM-DD (UTC).
	Date string
	// Provisional: a sync is under way, or may be.
	Provisional bool
	// Begun: the generation was seen to begin, at BegunAt, by a change of the data; the server may hold
	// rows and bars from before. Otherwise it was found at the start.
	Begun   bool
	BegunAt time.Time
	// Cleared: the server's rows, bars and price databases were cleared since the last sign of a sync.
	Cleared bool
	// Unproven says why the server's prices may be older than its files though an answer's dates don't show it;
	// empty when they would.
	Unproven string
	// TablesStale: the server's benchmark tables are, or may be, from before the data changed last.
	TablesStale bool
	// RestartedAt is when the server was last noticed to have been restarted: what was doubtful before is to be
	// asked for again. Zero when it never was.
	RestartedAt time.Time

	record record
}

// Generation changes with every change that was seen, on any replica. It is opaque.
func (s *DataState) Generation() string { return s.record.generation() }

// GenerationFor is the generation as far as it concerns what depends on uses and bots.
func (s *DataState) GenerationFor(uses Uses, bots []string) string {
	return s.record.generationFor(uses, bots)
}

// Uses says what of the server's memory an answer may depend on.
type Uses struct{ Prices, Tables bool }

// DataSettings are what a DataWatch goes by.
type DataSettings struct {
	Canaries []string
	Interval time.Duration // between looks
	Settle   time.Duration // without a sign until a sync counts as over
	Looks    *Looks        // of all replicas; nil: there is no other
}

// DataWatch asks every interval for the newest candles of the canaries and of tickers in use, for the
// server's own data date, which is opaque (contract, trap 3), and, with an admin's credentials, for the
// state of its syncs (trap 4). What it sees becomes a record on the board, which all replicas go by.
type DataWatch struct {
	client   *Client
	admin    *Admin
	board    *board.Board
	canaries []string
	set      DataSettings
	log      *zap.Logger
	kick     chan struct{} // holds one: look now
	news     chan struct{} // holds one: there may be something to share
	grumbled map[string]bool
	asked    map[string]bool // tickers that this replica's own last look was about
	uses     tickersInUse
	refusals refusals

	tellsNoUptime bool // of the watch's own goroutine

	tried    atomic.Bool  // the first look has come to an end
	askedAt  atomic.Int64 // Unix nanoseconds of the last answer in full; 0 when the last try found the server down
	lookedAt atomic.Int64 // Unix nanoseconds when the look began that brought it
	endedAt  atomic.Int64 // Unix nanoseconds when the look began that ended last, whatever it brought

	// committing is held while the board is told something: until it is no longer owed nobody starts from it.
	committing sync.Mutex

	mu      sync.Mutex
	state   *DataState
	version int64           // of the board's record that state is made of; -1: this replica's own
	owed    []func(*record) // changes that could not be put on the board yet
	owedTo  string          // the root of the record that was found anew and is told of what went before
}

// ownVersion marks a state that could not be shared.
const ownVersion = -1

// NewDataWatch watches as set says. Nothing is asked before Run.
func NewDataWatch(c *Client, a *Admin, b *board.Board, set DataSettings, log *zap.Logger) *DataWatch {
	return &DataWatch{
		client: c, admin: a, board: b, canaries: set.Canaries, set: set, log: log, kick: make(chan struct{}, 1), news: make(chan struct{}, 1), grumbled: map[string]bool{},
	}
}

// Current gives the newest state, nil while none is known. sure is false when it must not be relied
// on: the server could not be reached or has not answered for several intervals, its caches are being
// cleared or its data changed through Warmfront right now, or the board has lost its record.
func (d *DataWatch) Current() (state *DataState, sure bool) {
	heard := !d.unseen() // before what it is about: what is read afterwards is no older
	raw, version := d.board.Record()
	shared := d.board.InTouch()
	d.mu.Lock()
	// What this replica saw alone is compared with what the others agreed on before either is believed.
	if shared && d.version != ownVersion {
		if theirs, ok := d.read(raw, version); ok {
			d.adopt(theirs, version)
		}
	}
	state = d.state
	lost := shared && state != nil && (version != d.version || len(d.owed) > 0)
	d.mu.Unlock()
	if state == nil || !d.tried.Load() {
		return nil, false // what others have seen is to be seen here before it is believed
	}
	if lost {
		d.Poke()
	}
	at := d.askedAt.Load()
	return state, !lost && heard && at != 0 && time.Since(time.Unix(0, at)) < d.patience() && !d.board.Writing(board.Data, "")
}

func stateOf(r record) *DataState {
	s := &DataState{
		Date: r.Date, Provisional: r.Phase != settled && !rule.Off(rule.Provisional), Begun: r.Begun, BegunAt: r.BegunAt, Cleared: r.Cleared,
		TablesStale: r.Stale || r.RowsDue || r.TablesOld && !rule.Off(rule.RestatedUnproven), RestartedAt: r.RestartedAt, record: r,
	}
	if r.Begun {
		s.Unproven = r.unproven()
	}
	return s
}

// patience is for how long a state is believed without a new answer. A server that computes does
// not answer (one thread), so it is generous; one that refuses connections is noticed at once.
func (d *DataWatch) patience() time.Duration { return 4*d.set.Interval + 30*time.Second }

// Tried reports whether the first look has come to an end, whatever it brought.
func (d *DataWatch) Tried() bool { return d.tried.Load() }

// Poke makes the next look happen now.
func (d *DataWatch) Poke() {
	for _, waiting := range []chan struct{}{d.kick, d.news} {
		select {
		case waiting <- struct{}{}:
		default:
		}
	}
}

// reachEvery is how often a replica that is cut off looks whether it still is.
const reachEvery = 50 * time.Millisecond

// boardPatience is how long the first look waits to hear what other replicas have agreed on.
const boardPatience = time.Second

// Run polls until ctx ends. Before the first success it asks every second: a private network's DNS
// may need that long after a start.
func (d *DataWatch) Run(ctx context.Context) {
	var telling sync.WaitGroup
	telling.Go(func() { d.tell(ctx) })
	defer telling.Wait()
	for end := time.Now().Add(boardPatience); !d.board.InTouch() && time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, 10*time.Millisecond, nil)
	}
	for kicked := true; ctx.Err() == nil; {
		if wait, ok := d.follow(ctx); ok && !kicked {
			kicked = d.rest(ctx, wait)
			continue
		}
		began := time.Now()
		err := d.Poll(ctx)
		d.looked(ctx, began, err)
		d.endedAt.Store(began.UnixNano())
		d.tried.Store(true)
		wait := d.set.Interval
		if state, _ := d.Current(); err != nil && state == nil || errors.Is(err, ErrDown) { // it may be being restarted
			wait = min(wait, time.Second)
		}
		kicked = d.rest(ctx, wait)
	}
}

// rest waits for the next look, and reports whether somebody wants it now. What this replica knows alone it tells as soon as the board is in reach.
func (d *DataWatch) rest(ctx context.Context, wait time.Duration) (kicked bool) {
	d.mu.Lock()
	cutOff := d.version == ownVersion && !d.board.InTouch()
	d.mu.Unlock()
	if !cutOff {
		return pause(ctx, wait, d.kick)
	}
	for end := time.Now().Add(wait); time.Now().Before(end) && !d.board.InTouch() && ctx.Err() == nil; {
		pause(ctx, reachEvery, nil)
	}
	return true
}

func pause(ctx context.Context, wait time.Duration, kick <-chan struct{}) (kicked bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-kick:
		return true
	case <-timer.C:
	}
	return false
}

// Poll asks once. Replicas that see the same change at the same time agree on who was first.
func (d *DataWatch) Poll(ctx context.Context) error {
	d.share(ctx)
	d.letOthersTell(ctx)
	for range 3 {
		b := d.base()
		known, began := b.known, time.Now()
		o, err := d.observe(ctx, known)
		if err != nil {
			if errors.Is(err, ErrDown) && ctx.Err() == nil {
				d.refusals.note(err, time.Now())
				d.tellsNoUptime = false
				d.askedAt.Store(0)
				d.grumble("down", "upstream can't be reached; nothing is known of its data", err)
			}
			return err
		}
		next, news, changed := known.advance(o, d.terms())
		if next.Date == "" {
			return fmt.Errorf("%w: no canary of %s has a candle", ErrStatus, strings.Join(d.canaries, ","))
		}
		if changed || b.due {
			if !d.commit(ctx, next, b) {
				continue // another replica was faster: what was seen is compared with what it says
			}
		} else if b.version != ownVersion {
			d.mu.Lock()
			d.agree(next, b.version)
			d.mu.Unlock()
		}
		d.lookedAt.Store(began.UnixNano())
		d.askedAt.Store(time.Now().UnixNano())
		d.refusals = refusals{}
		d.announce(known, next, news)
		switch {
		case next.Phase == clearing && next.Claim == d.board.ID():
			err = d.clearServer(ctx, next) // before anything is believed, at the first look
		case next.RowsDue && d.admin.Configured():
			err = d.clearRows(ctx)
		}
		d.tried.Store(true)
		if err == nil {
			clear(d.grumbled)
		}
		return err
	}
	return fmt.Errorf("%w: replicas go on disagreeing about the data", ErrStatus)
}

func (d *DataWatch) terms() terms {
	return terms{now: time.Now(), canaries: d.canaries, settle: d.set.Settle, admin: d.admin.Configured(), replica: d.board.ID()}
}

// SyncStarted tells of a sync or download that was started, or stopped, through Warmfront.
func (d *DataWatch) SyncStarted(ctx context.Context) {
	now := time.Now()
	d.apply(ctx, "a sync was started by a request that passed", func(r *record) {
		r.sign(now)
		r.bump(now)
		r.restates() // its mode is not known
		r.Unnamed++
	})
	d.Poke()
}

// JobStarted tells of the id of the download of which SyncStarted has just been told: how it goes can be asked for.
func (d *DataWatch) JobStarted(ctx context.Context, job string) {
	d.apply(ctx, "a download was started by a request that passed", func(r *record) {
		if !slices.Contains(r.Jobs, job) {
			r.Jobs = append(r.Jobs, job)
			r.Unnamed = max(0, r.Unnamed-1)
		}
	})
	d.Poke()
}

// ServerCleared tells of an admin's clearing that passed: of one bot's rows, or of all ("") and, with
// bars, of the bars in the server's memory.
func (d *DataWatch) ServerCleared(ctx context.Context, bot string, bars bool) {
	now := time.Now()
	d.apply(ctx, "an admin's clearing passed", func(r *record) {
		if bot != "" {
			r.clearBot(bot, now)
			return
		}
		r.bump(now)
		if bars && r.Phase != syncing {
			// What was computed before has left its price databases, and may leave rows yet.
			r.Cleared, r.Flushed, r.BarsNew, r.SafeFrom, r.BarsFrom = false, false, true, 0, r.Number
			r.claim(d.board.ID(), now)
		}
	})
	d.Poke()
}

// announce logs what has changed.
func (d *DataWatch) announce(before, now record, news []string) {
	switch {
	case len(news) == 0:
	case before.Number == 0:
		d.log.Info("data date", zap.String("date", now.Date), zap.String("serverText", now.Text))
	default:
		d.log.Info("data moved", zap.String("from", before.Date), zap.String("to", now.Date), zap.String("serverText", now.Text),
			zap.String("phase", string(now.Phase)), zap.Int("generation", now.Number), zap.Strings("why", news))
		if now.Date < before.Date {
			d.log.Warn("the data date went backwards", zap.String("from", before.Date), zap.String("to", now.Date))
		}
	}
}

func (d *DataWatch) isCanary(ticker string) bool { return slices.Contains(d.canaries, ticker) }
