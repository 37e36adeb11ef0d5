package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRestartIsToldBySignsThatNoOrdinaryDayShows(t *testing.T) {
	for _, c := range []struct {
		name          string
		signs         restartSigns
		seen, certain bool
	}{
		{"an ordinary day", restartSigns{}, false, false},
		{"up for less than before", restartSigns{uptime: true}, true, true},
		{"tables have what they lacked", restartSigns{tables: true}, true, true},
		{"the last sync is gone", restartSigns{lastSync: true}, true, true},
		{"a download was forgotten, or its list was tidied up", restartSigns{job: true}, true, false},
		{"nobody listened for a moment", restartSigns{refused: true}, true, false},
		{"nobody listened for longer", restartSigns{refused: true, refusedLong: true}, true, true},
		{"nobody listened, and a download was forgotten", restartSigns{refused: true, job: true}, true, true},
	} {
		if seen, certain := c.signs.verdict(); seen != c.seen || certain != c.certain {
			t.Errorf("%s: seen %v, certain %v; want %v, %v", c.name, seen, certain, c.seen, c.certain)
		}
	}
}

func TestWhatARestartShowsIsComparedWithWhatWasKnown(t *testing.T) {
	now := start
	r := record{Number: 3, Phase: settled, Jobs: []string{"job"}, SyncShown: "2026-01-14T23:00:00Z", Tickers: map[string]candle{}}
	r.Booted, r.RestartedAt = now.Add(-time.Hour), now.Add(-time.Minute)
	for name, c := range map[string]struct {
		o    observation
		want restartSigns
	}{
		"nothing":                     {observation{}, restartSigns{}},
		"the same last sync":          {obs("a", schedule(false, "2026-01-14T23:00:00Z", true)), restartSigns{}},
		"a newer one":                 {obs("a", schedule(false, "2026-01-15T23:00:00Z", true)), restartSigns{}},
		"an older one":                {obs("a", schedule(false, "2026-01-13T23:00:00Z", true)), restartSigns{lastSync: true}},
		"none":                        {obs("a", schedule(true, "", false)), restartSigns{lastSync: true}},
		"one that can't be read":      {observation{sync: &syncStatus{unreadable: true}}, restartSigns{}},
		"a job that runs":             {obs("a", job("running")), restartSigns{}},
		"a job that is not known":     {obs("a", job("")), restartSigns{job: true}},
		"up for as long":              {observation{process: processSigns{uptime: 59 * time.Minute}}, restartSigns{}},
		"up for a minute":             {observation{process: processSigns{uptime: time.Minute}}, restartSigns{uptime: true}},
		"refused since":               {observation{process: processSigns{refused: now}}, restartSigns{refused: true}},
		"refused before the last one": {observation{process: processSigns{refused: now.Add(-time.Hour)}}, restartSigns{}},
	} {
		if got := r.restartSigns(c.o, false, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestOnlyARefusedConnectionTellsThatNobodyListens(t *testing.T) {
	var f refusals
	for _, err := range []error{syscall.ECONNRESET, context.DeadlineExceeded, errors.New("no such host")} {
		f.note(fmt.Errorf("%w: %w", ErrDown, err), start)
	}
	if got := f.signs(); got != (processSigns{}) {
		t.Errorf("%+v without a refusal", got)
	}
	refused := fmt.Errorf("%w: %w", ErrDown, syscall.ECONNREFUSED)
	f.note(refused, start)
	if got := f.signs(); got != (processSigns{refused: start}) {
		t.Errorf("%+v after one", got)
	}
	f.note(refused, start.Add(time.Second))
	if got := f.signs(); got != (processSigns{refused: start.Add(time.Second), refusedLong: true}) {
		t.Errorf("%+v after a second of them", got)
	}
}

// A restart is not a sync: nothing settles, nothing is warmed again, and what was proven stays.
func TestRestartSettlesNothingAndMakesNewWhatWasInDoubt(t *testing.T) {
	at := terms{now: start, canaries: []string{"SPY"}, settle: time.Hour, replica: "me"}
	shown := schedule(false, "2026-01-14T23:00:00Z", true)
	r, _, _ := record{}.advance(obs("a", shown), at)
	r.bump(start)
	r.restates()
	r.Flushed = true
	proven := r.generationFor(Uses{Prices: true}, nil)
	for _, gone := range []string{"2026-01-13T23:00:00Z", ""} {
		next, news, changed := r.advance(obs("a", schedule(false, gone, true)), at)
		if !changed || next.Phase != settled || next.generation() != r.generation() || next.SyncSeen != r.SyncSeen {
			t.Errorf("last sync %q: %+v (%v); want it settled, of the same generation", gone, next, news)
		}
		if next.unproven() != "" || next.TablesOld || !next.RestartedAt.Equal(start) {
			t.Errorf("last sync %q: %+v; want what is in its memory to be new", gone, next.memory)
		}
		if got := next.generationFor(Uses{Prices: true}, nil); got != proven {
			t.Errorf("last sync %q: what was proven is of %s, then of %s", gone, proven, got)
		}
		if got := next.generationFor(Uses{Tables: true}, nil); got == r.generationFor(Uses{Tables: true}, nil) {
			t.Errorf("last sync %q: what depends on tables is of %s before and after", gone, got)
		}
		// The last sync shows again, as it was: none has ended.
		if again, news, _ := next.advance(obs("a", shown), at); again.Phase != settled || again.generation() != r.generation() {
			t.Errorf("shown again: %+v (%v)", again, news)
		}
	}
	r.Flushed = false
	next, _, _ := r.advance(obs("a", schedule(false, "", true)), at)
	if got := next.generationFor(Uses{Prices: true}, nil); got == proven {
		t.Error("what nobody had proven is still of the same generation")
	}
	r.Phase = syncing
	if next, _, _ := r.advance(obs("a", schedule(true, "", true)), at); next.unproven() == "" || next.Phase != syncing {
		t.Errorf("during a sync: %+v; what a process loads then may be from before its end", next)
	}
}

func TestCandlesAreOnlyAddedToWhenAllThatBothShowAreTheSame(t *testing.T) {
	days := func(s string) candle { // a letter a day
		var b strings.Builder
		for _, c := range s {
			b.WriteString(strings.Repeat(string(c), dayLength))
		}
		return candle{Days: b.String()}
	}
	for _, c := range []struct {
		before, now string
		want        bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", true}, {"abc", "bcd", true}, {"abc", "cde", true}, {"abc", "def", false}, {"abc", "xbcd", false},
		{"abc", "axcd", false}, {"abc", "abx", false}, {"abc", "ab", false}, {"bc", "abc", true}, {"", "abc", false}, {"abc", "", false},
	} {
		if got := days(c.now).extends(days(c.before)); got != c.want {
			t.Errorf("%s after %s: only added to %v, want %v", c.now, c.before, got, c.want)
		}
	}
}

func TestTablesAreAskedForTheNewestDay(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   tablesAnswer
		fails  bool
	}{
		"they have it":        {`{"dataDate":"x","benchmarks":{},"errors":["SPY: insufficient data (1 days) for metrics"]}`, tablesAnswer{told: true, has: true}, false},
		"they lack it":        {`{"dataDate":"x","errors":["QQQ: insufficient data (1 days)","spy : insufficient data (0 days)"]}`, tablesAnswer{told: true}, false},
		"another's":           {`{"dataDate":"x","errors":["SPYG: insufficient data (0 days)"]}`, tablesAnswer{}, false},
		"nothing":             {`{"dataDate":"x","benchmarks":{"SPY":{"tradingDays":8000}}}`, tablesAnswer{}, false},
		"another error":       {`{"dataDate":"x","errors":["SPY: not found"]}`, tablesAnswer{}, false},
		"not a number":        {`{"dataDate":"x","errors":["SPY: insufficient data (99999999999999999999 days)"]}`, tablesAnswer{}, false},
		"without a data date": {`{"errors":[]}`, tablesAnswer{}, true},
		"not JSON":            {`<html>`, tablesAnswer{}, true},
	} {
		var query string
		client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			query = r.URL.Query().Get("tickers") + " from " + r.URL.Query().Get("startDate")
			fmt.Fprint(w, c.answer)
		})
		text, got, err := (&DataWatch{client: client}).askTables(t.Context(), "SPY", "2026-01-14")
		if c.want.ticker, c.want.day = "SPY", "2026-01-14"; c.fails {
			c.want = tablesAnswer{}
		}
		if (err != nil) != c.fails || got != c.want || !c.fails && text != "x" || query != "SPY,QQQ from 2026-01-14" {
			t.Errorf("%s: %q, %+v, %v for %s; want %+v, failing %v", name, text, got, err, query, c.want, c.fails)
		}
	}
}

func TestTablesThatHaveWhatTheyLackedWereLoadedAgain(t *testing.T) {
	lack := func(ticker, day string) tablesAnswer { return tablesAnswer{ticker: ticker, day: day, told: true} }
	have := func(ticker, day string) tablesAnswer {
		return tablesAnswer{ticker: ticker, day: day, told: true, has: true}
	}
	for name, c := range map[string]struct {
		looks    []tablesAnswer
		moved    bool
		stale    bool
		reloaded bool
	}{
		"had it all along":         {[]tablesAnswer{have("SPY", "2"), have("SPY", "2")}, false, false, false},
		"lack it":                  {[]tablesAnswer{have("SPY", "2"), lack("SPY", "3")}, true, true, false},
		"loaded again":             {[]tablesAnswer{lack("SPY", "3"), have("SPY", "3")}, false, false, true},
		"loaded a day later":       {[]tablesAnswer{lack("SPY", "3"), have("SPY", "4")}, false, false, true},
		"asked for an older day":   {[]tablesAnswer{lack("SPY", "3"), have("SPY", "2")}, false, false, false},
		"asked for another":        {[]tablesAnswer{lack("SPY", "3"), have("QQQ", "3")}, false, false, false},
		"don't tell, at the start": {[]tablesAnswer{{}, {}}, false, false, false},
		"don't tell, after a move": {[]tablesAnswer{have("SPY", "2"), {}}, true, true, false},
	} {
		var m memory
		reloaded := false
		for _, a := range c.looks {
			reloaded = m.noteTables(a, c.moved && a != c.looks[0])
		}
		if m.Stale != c.stale || reloaded != c.reloaded {
			t.Errorf("%s: stale %v, reloaded %v; want %v, %v", name, m.Stale, reloaded, c.stale, c.reloaded)
		}
	}
}
