package upstream

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"warmfront/keying/rule"
)

// A phase is where a sync is, as far as can be told from outside.
type phase string

const (
	settled  phase = "settled"  // nothing is under way
	syncing  phase = "syncing"  // from the first sign on
	clearing phase = "clearing" // it is over, and the server's own stale rows and bars are being cleared
)

const (
	// claimFor is for how long one replica may be about clearing the server before another takes over.
	claimFor = 2 * time.Minute
	// clearFor is for how long clearing the server is tried. It may never succeed: the admin's password may
	// have changed, or the last replica that knew it gone. The answers tell for themselves then, as on a
	// server that can't be cleared.
	clearFor = 10 * time.Minute
	// textLag is for how long the server may go on telling its old data date: it remembers it for a
	// minute (contract, trap 3). A text that moves so soon after a sync is no sign of another.
	textLag = 2 * time.Minute
	// maxWatched bounds the tickers that are watched, the canaries among them.
	maxWatched = 12
	// maxCleared bounds the bots whose rows an admin cleared one by one, within a generation.
	maxCleared = 1000
)

// record is what all replicas agree on of the price data. It is kept on the board, as JSON, and never
// changed in place.
type record struct {
	Life        string `json:"life"`            // of the count: a new one when the old was lost
	After       string `json:"after,omitempty"` // the root of the life that this one goes on from, and its number there
	AfterNumber int    `json:"afterNumber,omitempty"`
	Number      int    `json:"number"` // the generation; 0 when nothing is known yet

	Date    string            `json:"date"`    // newest candle of the canaries, YYYY-MM-DD
	Text    string            `json:"text"`    // what the server calls its data date
	Tables  string            `json:"tables"`  // a hash of the first canary's benchmark metrics
	Stale   bool              `json:"stale"`   // the candles have moved since the tables did
	Tickers map[string]candle `json:"tickers"` // that are watched, and their newest candles

	Phase   phase     `json:"phase"`
	Begun   bool      `json:"begun"`   // the generation was seen to begin
	BegunAt time.Time `json:"begunAt"` // when it did
	Cleared bool      `json:"cleared"` // the server's rows and bars were cleared since the last sign
	SignAt  time.Time `json:"signAt"`  // the last sign of a sync
	EndedAt time.Time `json:"endedAt"` // when a sync was last known to have succeeded

	SyncSeen   string         `json:"syncSeen"`          // the newest sync that the server's schedule lists
	Jobs       []string       `json:"jobs,omitempty"`    // downloads that passed, and run yet as far as is known
	Unnamed    int            `json:"unnamed,omitempty"` // syncs that were started through Warmfront and have no id to ask for
	Claim      string         `json:"claim,omitempty"`   // the replica that clears the server
	ClaimUntil time.Time      `json:"claimUntil,omitzero"`
	ClearBy    time.Time      `json:"clearBy,omitzero"`
	Bots       map[string]int `json:"bots,omitempty"` // how often an admin cleared a bot's rows
}

// candle is what a ticker showed last: its newest date, and a hash of its last 50 candles.
type candle struct {
	Date string `json:"d"`
	Hash string `json:"h"`
}

// observation is what the server was seen to say, all of it after the record was read that it is
// compared with. What could not be read is missing.
type observation struct {
	tickers map[string]candle
	text    *string
	tables  *string
	sync    *syncStatus
	jobs    map[string]string // status of the jobs in the record
}

// syncStatus is what the server's schedule tells an admin.
type syncStatus struct {
	running   bool
	newest    string // time of the newest entry of the last syncs, in whatever form; "" for none
	succeeded bool   // that entry's status
}

// terms are what a record is advanced under.
type terms struct {
	now      time.Time
	canaries []string
	settle   time.Duration
	admin    bool // this replica can clear the server
	replica  string
}

// advance gives the record after o. news says what happened, for the log; it is empty when nothing
// changed that counts, and changed tells whether the record did at all.
func (r record) advance(o observation, t terms) (next record, news []string, changed bool) {
	next = r.clone()
	if r.Number == 0 {
		next.begin(o, t)
		return next, []string{"found"}, true
	}
	moved := next.watch(o, t)
	still := len(moved) == 0
	next.Stale = r.Stale || !still
	changed = len(next.Tickers) != len(r.Tickers)
	signs := slices.Clone(moved)
	if o.text != nil && *o.text != r.Text {
		next.Text = *o.text
		moved = append(moved, "the server's date text moved")
		if t.now.Sub(r.EndedAt) > textLag {
			signs = append(signs, "the server's date text moved")
		}
	}
	if o.tables != nil && *o.tables != r.Tables {
		// Loaded between two looks that saw the same candles, they are of those; otherwise that can't be told.
		next.Tables, next.Stale = *o.tables, !still
		moved = append(moved, "the server's benchmark tables moved")
	}
	running, ended, succeeded := next.follow(o, r)
	if r.Phase == settled && running {
		signs = append(signs, "a sync is running")
	}
	if r.Phase == settled && ended && !running {
		signs = append(signs, "a sync was running")
	}
	if len(signs) > 0 {
		next.sign(t.now)
	} else if running && t.now.Sub(next.SignAt) > t.settle/4 {
		next.SignAt, changed = t.now, true
	}
	if len(moved) > 0 || len(signs) > 0 {
		next.bump(t.now)
		news = append(moved, signs...)
	}
	if what := next.settle(running, succeeded, t); what != "" {
		news = append(news, what)
	}
	changed = changed || len(news) > 0 || next.SyncSeen != r.SyncSeen || len(next.Jobs) != len(r.Jobs)
	return next, slices.Compact(news), changed
}

// begin takes o for the generation that is found at the start.
func (r *record) begin(o observation, t terms) {
	*r = record{Life: rand.Text(), Number: 1, Tickers: map[string]candle{}, Phase: settled, BegunAt: t.now}
	r.watch(o, t)
	if o.text != nil {
		r.Text = *o.text
	}
	if o.tables != nil {
		r.Tables = *o.tables
	}
	if o.sync != nil {
		r.SyncSeen = o.sync.newest
		if o.sync.running {
			r.sign(t.now)
		}
	}
}

// watch takes in the tickers' candles and says which have moved. One that was not watched before says
// nothing, nor does one whose file can't be read while it is being rewritten (trap 4).
func (r *record) watch(o observation, t terms) (moved []string) {
	for _, ticker := range slices.Sorted(maps.Keys(o.tickers)) {
		now := o.tickers[ticker]
		before, known := r.Tickers[ticker]
		switch {
		case known && before != now:
			moved = append(moved, "the candles of "+ticker+" moved")
			fallthrough
		case known || len(r.Tickers) < maxWatched || slices.Contains(t.canaries, ticker):
			r.Tickers[ticker] = now
		}
	}
	date := ""
	for _, ticker := range t.canaries {
		date = max(date, r.Tickers[ticker].Date)
	}
	if date != "" {
		r.Date = date
	}
	return moved
}

// follow takes in what is told of syncs and jobs.
func (r *record) follow(o observation, before record) (running, ended, succeeded bool) {
	if o.sync != nil {
		running = o.sync.running
		if !running && o.sync.newest != before.SyncSeen {
			r.SyncSeen = o.sync.newest
			ended, succeeded = true, o.sync.succeeded
		}
	}
	for id, status := range o.jobs {
		switch status {
		case "done", "error", "":
			r.Jobs = slices.DeleteFunc(r.Jobs, func(job string) bool { return job == id })
			// It tells nothing of another sync that was started besides it.
			ended, succeeded = true, succeeded || status == "done" && len(r.Jobs) == 0 && r.Unnamed == 0
		case "unknown":
		default:
			running = true
		}
	}
	return running, ended, succeeded
}

// settle ends a sync that is known to have succeeded, or that has given no sign for long enough.
func (r *record) settle(running, succeeded bool, t terms) string {
	switch {
	case r.Phase == clearing && t.now.After(r.ClearBy):
		r.end(t.now, t.canaries)
		return "the sync is over; the server's rows could not be cleared"
	case r.Phase == clearing && t.now.After(r.ClaimUntil) && t.admin:
		r.Claim, r.ClaimUntil = t.replica, t.now.Add(claimFor)
		return "the clearing of the server's rows was taken over"
	case r.Phase != syncing || running || len(r.Jobs) > 0 && t.now.Sub(r.SignAt) < t.settle:
		return ""
	case !succeeded && t.now.Sub(r.SignAt) < t.settle:
		return ""
	}
	if succeeded {
		r.EndedAt = t.now
	}
	if t.admin {
		r.Phase, r.Claim, r.ClaimUntil, r.ClearBy = clearing, t.replica, t.now.Add(claimFor), t.now.Add(clearFor)
		return "the sync is over; the server's rows are being cleared"
	}
	r.end(t.now, t.canaries)
	return "the sync is over"
}

// sign notes a sign of a sync.
func (r *record) sign(now time.Time) {
	r.Phase, r.SignAt, r.Cleared, r.Claim, r.ClaimUntil, r.ClearBy = syncing, now, false, "", time.Time{}, time.Time{}
}

// bump begins a generation.
func (r *record) bump(now time.Time) {
	r.Number++
	r.Begun, r.BegunAt, r.Bots = true, now, nil
}

// end begins the generation that follows a sync. The tickers in use by then take the place of those so far;
// the canaries stay, lest a move between this look and the next be seen by none.
func (r *record) end(now time.Time, canaries []string) {
	r.Phase, r.Jobs, r.Unnamed, r.Claim, r.ClaimUntil, r.ClearBy = settled, nil, 0, "", time.Time{}, time.Time{}
	maps.DeleteFunc(r.Tickers, func(t string, _ candle) bool { return !slices.Contains(canaries, t) })
	if !rule.Off(rule.SettledMoves) {
		r.bump(now)
	}
}

// clearBot notes that an admin cleared the rows of one bot.
func (r *record) clearBot(bot string, now time.Time) {
	if len(r.Bots) >= maxCleared {
		r.bump(now)
	}
	if r.Bots == nil {
		r.Bots = map[string]int{}
	}
	r.Bots[bot]++
}

// revived is a record for a board that has lost its own: under another life, since nobody knows which
// generations were begun in the one that is lost.
func (r record) revived(now time.Time) record {
	next := r.clone()
	next.Life, next.After, next.AfterNumber = rand.Text(), r.root(), r.Number
	next.bump(now)
	return next
}

// follows puts into a record that was found anew what was known before.
func (r *record) follows(before record, now time.Time) {
	r.bump(now)
	r.Stale = r.Stale || before.Stale
	r.SyncSeen = max(r.SyncSeen, before.SyncSeen)
	moved := false
	for ticker, c := range before.Tickers {
		now, known := r.Tickers[ticker]
		moved = moved || known && now != c
	}
	if before.Phase != settled {
		r.Unnamed += before.Unnamed
		for _, job := range before.Jobs {
			if !slices.Contains(r.Jobs, job) {
				r.Jobs = append(r.Jobs, job)
			}
		}
	}
	if moved || before.Phase != settled {
		r.sign(now)
	}
}

// root is the life without what a replica that was cut off has added to it.
func (r record) root() string {
	root, _, _ := strings.Cut(r.Life, "~")
	return root
}

func (r record) clone() record {
	r.Tickers, r.Bots, r.Jobs = maps.Clone(r.Tickers), maps.Clone(r.Bots), slices.Clone(r.Jobs)
	if r.Tickers == nil {
		r.Tickers = map[string]candle{}
	}
	return r
}

// generation names what r counts.
func (r record) generation() string { return r.Life + "." + strconv.Itoa(r.Number) }

// generationFor is the generation as far as it concerns bots: an admin may have cleared the rows of one.
func (r record) generationFor(bots []string) string {
	name := r.generation()
	for i, bot := range bots {
		if n := r.Bots[bot]; n > 0 {
			name += fmt.Sprintf(" %d:%d", i, n)
		}
	}
	return name
}
