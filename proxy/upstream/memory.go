package upstream

import (
	"time"

	"warmfront/keying/rule"
)

// memory is what is known of the prices that the server's process holds. They are copies in layers, each made of
// the one before it: bars of common tickers, loaded at its start; price databases, built of bars and files; rows,
// computed with databases and kept on disk; and, apart from these, benchmark tables, loaded once (traps 5, 16, 21).
// Unknown is the zero value.
type memory struct {
	Stale     bool   `json:"stale"`               // the tables lack the newest day; or the data moved, and nobody can tell
	Lacks     string `json:"lacks,omitempty"`     // what the tables were seen to lack: a ticker and a day
	TablesOld bool   `json:"tablesOld,omitempty"` // history was rewritten since they can have been loaded
	Restated  bool   `json:"restated,omitempty"`  // history was rewritten since the bars can have been loaded
	BarsNew   bool   `json:"barsNew,omitempty"`   // an admin cleared the bars since the last sign of a sync

	Flushed  bool      `json:"flushed,omitempty"` // no database is older than the bars and files
	FlushAt  time.Time `json:"flushAt,omitzero"`  // from when on flushing is tried again
	BarsFrom int       `json:"barsFrom,omitempty"`
	SafeFrom int       `json:"safeFrom,omitempty"`
	Again    bool      `json:"again,omitempty"` // what ended during a clearing may have put old prices back

	RowsDue     bool      `json:"rowsDue,omitempty"`    // an admin's login is to clear rows made with tables that are gone
	Restarts    int       `json:"restarts,omitempty"`   // of the server's process, as far as they were noticed
	Renewed     int       `json:"renewed,omitempty"`    // those that made new what had not been known to be
	RestartedAt time.Time `json:"restartedAt,omitzero"` // when the last one was noticed
	Booted      time.Time `json:"booted,omitzero"`      // since when the server says it is up
}

// flushAgain is how long after a flush that was refused it is tried again.
const flushAgain = 10 * time.Minute

// outcome is what a clearing came to.
type outcome struct {
	cleared bool // rows and bars, with an admin's login
	flushed bool // price databases, for which the server needs no login where it is public
	same    bool // nothing more than before
}

// outdated notes a sign of a sync: whatever is loaded from here on may be from before or after it.
func (m *memory) outdated() {
	m.BarsNew, m.Flushed, m.FlushAt, m.BarsFrom, m.SafeFrom, m.Again = false, false, time.Time{}, 0, 0, false
}

// restates notes that history was rewritten, or that nobody can tell whether it was: dates prove nothing then.
func (m *memory) restates() { m.Restated, m.TablesOld = true, true }

// known notes the end of a clearing.
func (m *memory) known(got outcome, now time.Time) {
	m.Flushed, m.FlushAt = got.flushed, now.Add(flushAgain)
	if got.flushed && (got.cleared || m.BarsNew) {
		m.Restated = false
	}
}

// unproven says why an answer's own dates don't show that it is made of the prices as they are; "" when they do.
func (m *memory) unproven() string {
	switch {
	case rule.Off(rule.RestatedUnproven):
		return ""
	case m.Restated:
		return "the price history was rewritten, and the bars in the server's memory may be from before"
	case !m.Flushed:
		return "the server's price databases may be from before the last change of the data"
	}
	return ""
}

// follows takes in what was known before the record was found anew.
func (m *memory) follows(before memory) {
	m.Stale = m.Stale || before.Stale
	m.TablesOld = m.TablesOld || before.TablesOld
	m.Restated = m.Restated || before.Restated
	m.Flushed = m.Flushed && before.Flushed
	m.Restarts, m.Renewed = max(m.Restarts, before.Restarts)+1, max(m.Renewed, before.Renewed)+1
}
