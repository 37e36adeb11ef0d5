package oracle

import (
	"slices"
	"testing"
)

// What the server holds in its memory and does not show (traps 16, 21, 22, 26).

// synced is a sync until it is over for everybody.
func synced(mode string) []Op {
	return []Op{{Kind: "sync", Mode: mode, TookMS: 300}, {Kind: "noticed"}, {Kind: "synced"}, {Kind: "settled"}}
}

// unexcused is until nobody may take a sync for one that could not be known of yet.
func unexcused() Op { return pause(int((usual().late() + usual().Interval).Milliseconds())) }

func loggedIn(p *Plan) { p.Workers, p.Admin, p.Fresh = 1, true, true }

// loggedOut has what is kept for long be right, though nobody can clear what the server holds.
func loggedOut(p *Plan) { p.Workers, p.Fresh = 1, true }

// oldDatabases: strategies that were asked for before a restatement, after it.
func oldDatabases() []Op {
	asked := []Op{runOf(0, 2, "CC"), adhocOf(2), adhocOf(3)}
	return repeated(1, slices.Concat(asked, restated(300), []Op{unexcused()}, asked, asked)...)
}

// lateBuild: a database that was begun before a restatement is kept after it, and after what it was cleared with.
func lateBuild(p *Plan) []Op {
	p.Workers = 2
	return repeated(1, slices.Concat(
		[]Op{{Kind: "slow-build", TookMS: 9000}, adhocOf(2), pause(300)}, restated(300),
		[]Op{{Kind: "quiet"}, pause(200), {Kind: "settled"}, runOf(0, 2, "OC"), adhocOf(2), adhocOf(2), runOf(0, 2, "CC"), runOf(0, 2, "CC")},
	)...)
}

// oldTables: benchmarks of tables that lack the newest day.
func oldTables() []Op {
	benchmarks := getOf("benchmarks", 0, "/api/benchmarks/metrics?tickers=SPY,XOM")
	return repeated(1, slices.Concat([]Op{benchmarks}, synced("append"), []Op{unexcused(), benchmarks, benchmarks})...)
}

// oldMemory: bars in memory from before a restatement end on the right day, and are wrong.
func oldMemory() []Op {
	return repeated(1, slices.Concat([]Op{runOf(0, 0, "CC")}, restated(300), []Op{unexcused(), runOf(0, 0, "CC"), runOf(0, 0, "CC"), adhocOf(0), adhocOf(0)})...)
}

// restarted: what was answered from memory is another answer once that is gone.
func restarted() []Op {
	return repeated(1, slices.Concat(
		[]Op{runOf(0, 0, "CC")}, restated(300), []Op{runOf(0, 0, "CC"), adhocOf(0)},
		[]Op{{Kind: "memory-lost", TookMS: 1200}, pause(4000), adhocOf(0), adhocOf(0)},
	)...)
}

func TestAfterARestatementIsOverNothingIsAnsweredFromTheOldHistory(t *testing.T) {
	t.Parallel()
	p := usual()
	loggedIn(&p)
	before := slices.Concat(everyRead(0), everyRead(1), everyRead(-1))
	once(t, p, 1, slices.Concat(before, restated(300), []Op{{Kind: "current"}}, everyRead(0), restated(300), []Op{{Kind: "current"}})...)
}

func TestWhatTheServerHoldsInItsMemoryIsNotKeptForLong(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(*Plan) []Op{
		"old databases": func(p *Plan) []Op { loggedIn(p); return oldDatabases() },
		"a late build":  func(p *Plan) []Op { loggedIn(p); return lateBuild(p) },
		"old tables":    func(p *Plan) []Op { loggedIn(p); return oldTables() },
		"old bars":      func(p *Plan) []Op { loggedOut(p); return oldMemory() },
		"a restart":     func(p *Plan) []Op { loggedOut(p); return restarted() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := usual()
			ops := play(&p)
			once(t, p, p.Workers, ops...)
		})
	}
}
