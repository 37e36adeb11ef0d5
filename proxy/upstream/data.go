package upstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	// Cleared: the server's rows and bars were cleared since the last sign of a sync.
	Cleared bool
	// TablesStale: the server's benchmark tables are from before the candles moved last.
	TablesStale bool

	record record
}

// Generation changes with every change that was seen, on any replica. It is opaque.
func (s *DataState) Generation() string { return s.record.generation() }

// GenerationFor is the generation as far as it concerns bots.
func (s *DataState) GenerationFor(bots []string) string { return s.record.generationFor(bots) }

// DataSettings are what a DataWatch goes by.
type DataSettings struct {
	Canaries []string
	Interval time.Duration // between looks
	Settle   time.Duration // without a sign until a sync counts as over
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
	kick     chan struct{}
	grumbled map[string]bool
	uses     tickersInUse

	tried   atomic.Bool  // the first look has come to an end
	askedAt atomic.Int64 // Unix nanoseconds of the last answer in full; 0 when the last try found the server down

	mu      sync.Mutex
	state   *DataState
	version int64           // of the board's record that state is made of; -1: this replica's own
	owed    []func(*record) // changes that could not be put on the board yet
}

// ownVersion marks a state that could not be shared.
const ownVersion = -1

// NewDataWatch watches as set says. Nothing is asked before Run.
func NewDataWatch(c *Client, a *Admin, b *board.Board, set DataSettings, log *zap.Logger) *DataWatch {
	return &DataWatch{
		client: c, admin: a, board: b, canaries: set.Canaries, set: set, log: log, kick: make(chan struct{}, 1), grumbled: map[string]bool{},
	}
}

// Current gives the newest state, nil while none is known. sure is false when it must not be relied
// on: the server could not be reached or has not answered for several intervals, its caches are being
// cleared or its data changed through Warmfront right now, or the board has lost its record.
func (d *DataWatch) Current() (state *DataState, sure bool) {
	raw, version := d.board.Record()
	shared := d.board.Sure()
	d.mu.Lock()
	if shared && version > 0 && version != d.version {
		d.adopt(raw, version)
	}
	state = d.state
	lost := shared && state != nil && version != d.version
	d.mu.Unlock()
	if state == nil || !d.tried.Load() {
		return nil, false // what others have seen is to be seen here before it is believed
	}
	if lost {
		d.Poke()
	}
	at := d.askedAt.Load()
	return state, !lost && d.board.SureOfData() && at != 0 && time.Since(time.Unix(0, at)) < d.patience() && !d.board.Writing(board.Data, "")
}

// adopt makes the board's record the state. The caller holds mu.
func (d *DataWatch) adopt(raw []byte, version int64) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		d.log.Error("the replicas' record of the data can't be read", zap.Error(err))
		return
	}
	d.state, d.version = stateOf(r), version
}

func stateOf(r record) *DataState {
	return &DataState{
		Date: r.Date, Provisional: r.Phase != settled && !rule.Off(rule.Provisional), Begun: r.Begun, BegunAt: r.BegunAt, Cleared: r.Cleared, TablesStale: r.Stale,
		record: r,
	}
}

// patience is for how long a state is believed without a new answer. A server that computes does
// not answer (one thread), so it is generous; one that refuses connections is noticed at once.
func (d *DataWatch) patience() time.Duration { return 4*d.set.Interval + 30*time.Second }

// Tried reports whether the first look has come to an end, whatever it brought.
func (d *DataWatch) Tried() bool { return d.tried.Load() }

// Poke makes the next look happen now.
func (d *DataWatch) Poke() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// boardPatience is how long the first look waits to hear what other replicas have agreed on.
const boardPatience = time.Second

// Run polls until ctx ends. Before the first success it asks every second: a private network's DNS
// may need that long after a start.
func (d *DataWatch) Run(ctx context.Context) {
	for end := time.Now().Add(boardPatience); !d.board.Sure() && time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, 10*time.Millisecond, nil)
	}
	for ctx.Err() == nil {
		err := d.Poll(ctx)
		d.tried.Store(true)
		wait := d.set.Interval
		if state, _ := d.Current(); err != nil && state == nil {
			wait = min(wait, time.Second)
		}
		pause(ctx, wait, d.kick)
	}
}

func pause(ctx context.Context, wait time.Duration, kick <-chan struct{}) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-kick:
	case <-timer.C:
	}
}

// Poll asks once. Replicas that see the same change at the same time agree on who was first.
func (d *DataWatch) Poll(ctx context.Context) error {
	for range 3 {
		known, version, due := d.base()
		o, err := d.observe(ctx, known)
		if err != nil {
			if errors.Is(err, ErrDown) && ctx.Err() == nil {
				d.askedAt.Store(0)
				d.grumble("down", "upstream can't be reached; nothing is known of its data", err)
			}
			return err
		}
		next, news, changed := known.advance(o, d.terms())
		if next.Date == "" {
			return fmt.Errorf("%w: no canary of %s has a candle", ErrStatus, strings.Join(d.canaries, ","))
		}
		if (changed || due) && !d.commit(ctx, next, version) {
			continue // another replica was faster: what was seen is compared with what it says
		}
		d.askedAt.Store(time.Now().UnixNano())
		d.tried.Store(true)
		clear(d.grumbled)
		d.announce(known, next, news)
		if next.Phase == clearing && next.Claim == d.board.ID() {
			return d.clearServer(ctx)
		}
		return nil
	}
	return fmt.Errorf("%w: replicas go on disagreeing about the data", ErrStatus)
}

func (d *DataWatch) terms() terms {
	return terms{now: time.Now(), canaries: d.canaries, settle: d.set.Settle, admin: d.admin.Configured(), replica: d.board.ID()}
}

// base gives the record that the next observation is compared with. It is due to be put on the board
// when that has lost it, or when this replica could not share something while it was cut off.
func (d *DataWatch) base() (known record, version int64, due bool) {
	raw, version := d.board.Record()
	shared := d.board.Sure()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !shared:
		return d.alone(), ownVersion, false
	case version > 0:
		if version != d.version {
			d.adopt(raw, version)
		}
		known = d.state.record
	case d.state != nil:
		known, due = d.state.record.revived(time.Now()), true
	}
	if len(d.owed) > 0 && known.Number > 0 {
		known, due = known.clone(), true
		for _, change := range d.owed {
			change(&known)
		}
	}
	return known, version, due
}

// alone is what is known without the board. The caller holds mu.
func (d *DataWatch) alone() record {
	if d.state == nil {
		return record{}
	}
	return d.state.record.clone()
}

// keepAlone makes next the state of this replica only. A generation that it begins alone must not be taken
// for one that others begin meanwhile. The caller holds mu.
func (d *DataWatch) keepAlone(next record) {
	if d.state != nil && next.Number != d.state.record.Number {
		next.Life += "~" + rand.Text()
	}
	d.state, d.version = stateOf(next), ownVersion
}

// commit makes next the record, unless another replica has changed it since version.
func (d *DataWatch) commit(ctx context.Context, next record, version int64) bool {
	if version == ownVersion {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.keepAlone(next)
		return true
	}
	raw, err := json.Marshal(next)
	if err != nil {
		d.log.Error("the record of the data can't be written", zap.Error(err))
		return false
	}
	accepted, err := d.board.Propose(ctx, raw, version)
	if err != nil || !accepted {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owed = nil
	if d.version < version+1 {
		d.state, d.version = stateOf(next), version+1
	}
	return true
}

// apply makes a change that is no observation, on all replicas: at once, or here at once and elsewhere
// when the board can be reached again.
func (d *DataWatch) apply(ctx context.Context, change func(*record)) {
	for range 5 {
		known, version, _ := d.base()
		if known.Number == 0 {
			return // nothing is kept yet
		}
		if version == ownVersion {
			break
		}
		next := known.clone()
		change(&next)
		if d.commit(ctx, next, version) {
			d.announce(known, next, []string{"by a request that passed"})
			return
		}
		pause(ctx, 5*time.Millisecond, nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.alone()
	if next.Number == 0 {
		return
	}
	change(&next)
	d.keepAlone(next)
	d.owed = append(d.owed, change)
}

// SyncStarted tells of a sync or download that was started, or stopped, through Warmfront.
func (d *DataWatch) SyncStarted(ctx context.Context) {
	now := time.Now()
	d.apply(ctx, func(r *record) {
		r.sign(now)
		r.bump(now)
		r.Unnamed++
	})
	d.Poke()
}

// JobStarted tells of the id of the download of which SyncStarted has just been told: how it goes can be asked for.
func (d *DataWatch) JobStarted(ctx context.Context, job string) {
	d.apply(ctx, func(r *record) {
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
	d.apply(ctx, func(r *record) {
		if bot != "" {
			r.clearBot(bot, now)
			return
		}
		r.bump(now)
		r.Cleared = r.Cleared || bars && r.Phase == settled
	})
}

// clearServer clears the server's rows and bars after a sync, and has it load its benchmark tables
// (details, section 5), before anything is filled for long.
func (d *DataWatch) clearServer(ctx context.Context) error {
	status, _, err := d.admin.Ask(ctx, http.MethodPost, "/api/admin/cache/invalidate", []byte("{}"))
	if err == nil && status >= http.StatusInternalServerError {
		err = fmt.Errorf("%w: status %d for clearing the cache", ErrStatus, status)
	}
	if err != nil {
		d.grumble("clear", "the server's rows could not be cleared; trying again", err)
		return err
	}
	cleared := status == http.StatusOK
	if !cleared {
		d.log.Warn("the server's rows can't be cleared with the admin credentials", zap.Int("status", status))
	} else if _, _, err := d.client.get(ctx, "/api/benchmarks/metrics", nil); err != nil {
		d.log.Warn("the server's benchmark tables could not be loaded", zap.Error(err))
	}
	d.apply(ctx, func(r *record) {
		if r.Phase == clearing {
			r.end(time.Now())
			r.Cleared = cleared
		}
	})
	d.log.Info("the server's rows and bars were cleared after a sync", zap.Bool("cleared", cleared))
	return nil
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
