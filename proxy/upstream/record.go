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
	Tickers map[string]candle `json:"tickers"` // that are watched, and their newest candles
	memory

	Phase   phase     `json:"phase"`
	Begun   bool      `json:"begun"`   // the generation was seen to begin
	BegunAt time.Time `json:"begunAt"` // when it did
	Cleared bool      `json:"cleared"` // the server's rows and bars were cleared since the last sign
	SignAt  time.Time `json:"signAt"`  // the last sign of a sync
	EndedAt time.Time `json:"endedAt"` // when a sync was last known to have succeeded

	SyncSeen   string         `json:"syncSeen"`          // the newest sync that the server's schedule ever listed
	SyncShown  string         `json:"syncShown"`         // the newest that it lists now
	Jobs       []string       `json:"jobs,omitempty"`    // downloads that passed, and run yet as far as is known
	Unnamed    int            `json:"unnamed,omitempty"` // syncs that were started through Warmfront and have no id to ask for
	Claim      string         `json:"claim,omitempty"`   // the replica that clears the server
	ClaimUntil time.Time      `json:"claimUntil,omitzero"`
	ClearBy    time.Time      `json:"clearBy,omitzero"`
	AfterSync  bool           `json:"afterSync,omitempty"` // the clearing is that after a sync
	Bots       map[string]int `json:"bots,omitempty"`      // how often an admin cleared a bot's rows
}

// observation is what the server was seen to say, all of it after the record was read that it is
// compared with. What could not be read is missing.
type observation struct {
	tickers map[string]candle
	text    *string
	tables  tablesAnswer
	sync    *syncStatus
	jobs    map[string]string // status of the jobs in the record
	process processSigns
}

// syncStatus is what the server's schedule tells an admin.
type syncStatus struct {
	running    bool
	newest     string // time of the newest entry of the last syncs, in whatever form; "" for none
	succeeded  bool   // that entry's status
	restates   bool   // that sync rewrote history, as its mode says
	unreadable bool   // the last syncs are in no form that is known
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
	reloaded := next.noteTables(o.tables, len(moved) > 0)
	changed = len(next.Tickers) != len(r.Tickers) || next.Stale != r.Stale || next.Lacks != r.Lacks
	signs := slices.Clone(moved)
	if o.text != nil && *o.text != r.Text {
		next.Text = *o.text
		moved = append(moved, "the server's date text moved")
		if t.now.Sub(r.EndedAt) > textLag {
			signs = append(signs, "the server's date text moved")
		}
	}
	running, ended, succeeded := next.follow(o, r)
	if r.Phase != syncing && running {
		signs = append(signs, "a sync is running")
	}
	if r.Phase != syncing && ended && !running {
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
	if what := next.restart(r.restartSigns(o, reloaded, t.now), r.Stale, t); what != "" {
		news = append(news, what)
	}
	next.noteBoot(o.process, t.now)
	changed = changed || len(news) > 0 || next.SyncSeen != r.SyncSeen || next.SyncShown != r.SyncShown || len(next.Jobs) != len(r.Jobs) || !next.Booted.Equal(r.Booted)
	return next, slices.Compact(news), changed
}

// begin takes o for the generation that is found at the start.
func (r *record) begin(o observation, t terms) {
	*r = record{Life: rand.Text(), Number: 1, Tickers: map[string]candle{}, Phase: settled, BegunAt: t.now}
	r.watch(o, t)
	if o.text != nil {
		r.Text = *o.text
	}
	r.noteTables(o.tables, false)
	r.noteBoot(o.process, t.now)
	if o.sync != nil {
		r.SyncSeen, r.SyncShown = o.sync.newest, o.sync.newest
	}
	switch {
	case o.sync != nil && o.sync.running:
		r.sign(t.now)
	case t.admin:
		// What the server has kept may be from before a sync that nobody here saw.
		r.claim(t.replica, t.now)
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
			if !now.extends(before) {
				r.restates()
			}
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
		if !o.sync.unreadable {
			r.SyncShown = o.sync.newest
		}
		// One that lists an older sync than before, or none, has been restarted (trap 26); none has ended.
		if !running && o.sync.newest > before.SyncSeen {
			r.SyncSeen = o.sync.newest
			ended, succeeded = true, o.sync.succeeded
			if o.sync.restates {
				r.restates()
			}
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

// settle ends a sync that is known to have succeeded, or that has given no sign for long enough: what the server
// keeps is cleared first, as far as it lets itself be.
func (r *record) settle(running, succeeded bool, t terms) string {
	switch {
	case r.Phase == clearing && t.now.After(r.ClearBy):
		r.end(t.now, t.canaries, outcome{})
		return "the sync is over; what the server keeps could not be cleared"
	case r.Phase == clearing && t.now.After(r.ClaimUntil):
		r.Claim, r.ClaimUntil = t.replica, t.now.Add(claimFor)
		return "the clearing of the server was taken over"
	case r.Phase == settled && r.Begun && (!r.Flushed || r.Restated && t.admin) && t.now.After(r.FlushAt):
		r.claim(t.replica, t.now)
		return "the server's price databases are being flushed"
	case r.Phase != syncing || running || len(r.Jobs) > 0 && t.now.Sub(r.SignAt) < t.settle:
		return ""
	case !succeeded && t.now.Sub(r.SignAt) < t.settle:
		return ""
	}
	if succeeded {
		r.EndedAt = t.now
	}
	r.AfterSync = true
	r.claim(t.replica, t.now)
	return "the sync is over; what the server keeps is being cleared"
}

// claim has a replica clear the server. What is computed meanwhile is of a generation of its own.
func (r *record) claim(replica string, now time.Time) {
	r.Phase, r.Claim, r.ClaimUntil, r.ClearBy = clearing, replica, now.Add(claimFor), now.Add(clearFor)
}

// sign notes a sign of a sync.
func (r *record) sign(now time.Time) {
	r.Phase, r.SignAt, r.Cleared, r.Claim, r.ClaimUntil, r.ClearBy = syncing, now, false, "", time.Time{}, time.Time{}
	r.outdated()
}

// bump begins a generation.
func (r *record) bump(now time.Time) {
	r.Number++
	r.Begun, r.BegunAt, r.Bots = true, now, nil
}

// end begins the generation that follows a clearing. The tickers in use by then take the place of those so far;
// the canaries stay, lest a move between this look and the next be seen by none.
func (r *record) end(now time.Time, canaries []string, got outcome) {
	moves := r.AfterSync || !got.same && (got.cleared || got.flushed && r.Begun)
	r.Phase, r.Jobs, r.Unnamed, r.Claim, r.ClaimUntil, r.ClearBy = settled, nil, 0, "", time.Time{}, time.Time{}
	r.Cleared = got.cleared
	if r.AfterSync {
		maps.DeleteFunc(r.Tickers, func(t string, _ candle) bool { return !slices.Contains(canaries, t) })
	}
	if r.AfterSync = false; moves && !rule.Off(rule.SettledMoves) {
		r.bump(now)
	}
	r.known(got, now)
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
	r.memory.follows(before.memory)
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

// generationFor is the generation as far as it concerns what depends on uses and bots. An admin may have cleared
// the rows of one; a restart makes tables new, and what was not known to be of now.
func (r record) generationFor(uses Uses, bots []string) string {
	name := r.generation()
	if uses.Tables && r.Restarts > 0 {
		name += " tables" + strconv.Itoa(r.Restarts)
	}
	if uses.Prices && r.Renewed > 0 {
		name += " prices" + strconv.Itoa(r.Renewed)
	}
	for i, bot := range bots {
		if n := r.Bots[bot]; n > 0 {
			name += fmt.Sprintf(" %d:%d", i, n)
		}
	}
	return name
}
