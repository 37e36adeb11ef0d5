package upstream

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"time"

	"warmfront/keying"
	"warmfront/keying/rule"
)

// restartSigns are the signs that the server's process has been started anew. None of them shows on an ordinary
// day; a restart is no sync, and not all of them show each time.
type restartSigns struct {
	uptime      bool // it says that it is up for a shorter time than it must be
	tables      bool // its benchmark tables, which are loaded once, have what they lacked
	lastSync    bool // its schedule shows no last sync any more, or an older one (trap 26)
	job         bool // it does not know a download that it ran
	refused     bool // it refused a connection, and answers again
	refusedLong bool // it did so for a second or more
}

// verdict reports whether there was a restart, for all that is known, and whether that is certain. What is not
// certain has the server asked again; only what is certain lets what was in doubt be believed.
func (s restartSigns) verdict() (seen, certain bool) {
	n := 0
	for _, sign := range []bool{s.lastSync, s.job, s.refused} {
		if sign {
			n++
		}
	}
	certain = s.uptime || s.tables || s.lastSync || s.refused && s.refusedLong || n > 1
	return certain || n > 0, certain
}

// processSigns are what an observation shows of the server's process.
type processSigns struct {
	refused     time.Time // when it last refused a connection; zero when it has not
	refusedLong bool
	uptime      time.Duration // as it says; 0 when it does not
}

// slackOfUptime is by how much less than expected an uptime must be to count: clocks differ.
const slackOfUptime = 30 * time.Second

// restartSigns compares o with what r says.
func (r record) restartSigns(o observation, reloaded bool, now time.Time) restartSigns {
	s := restartSigns{tables: reloaded, refused: o.process.refused.After(r.RestartedAt), refusedLong: o.process.refusedLong}
	if o.process.uptime > 0 && !r.Booted.IsZero() {
		expected := now.Sub(r.Booted)
		s.uptime = expected-o.process.uptime > max(slackOfUptime, expected/2)
	}
	s.lastSync = o.sync != nil && !o.sync.unreadable && o.sync.newest < r.SyncShown
	for _, status := range o.jobs {
		s.job = s.job || status == ""
	}
	return s
}

// restart notes a restart. It settles nothing and begins no generation: what was proven stays so. What depended on
// the memory that is gone is asked for again. A process that was started while a sync went on may have loaded what
// was there before its end. Rows outlive it, and those that were made with its old tables are to be cleared by whoever
// may.
func (r *record) restart(s restartSigns, stale bool, t terms) string {
	seen, certain := s.verdict()
	if !seen || rule.Off(rule.RestartNoticed) {
		return ""
	}
	r.Restarts++
	r.RestartedAt = t.now
	if !certain || r.Phase == syncing {
		return "the server may have been restarted"
	}
	if !r.Flushed {
		r.Renewed++
	}
	r.RowsDue = r.RowsDue || t.admin && (stale || r.TablesOld)
	r.Flushed, r.Restated, r.TablesOld = true, false, false
	return "the server was restarted"
}

// clearRows clears the rows that a server made with the benchmark tables that it had before it was restarted.
func (d *DataWatch) clearRows(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clearPatience)
	defer cancel()
	done, err := d.invalidate(ctx)
	if err != nil {
		return err
	}
	d.apply(ctx, "the rows of a server that was restarted were cleared", func(r *record) {
		if r.RowsDue = false; done {
			r.Restarts++
			r.RestartedAt = time.Now()
		}
	})
	return nil
}

// noteBoot notes since when the server says it is up.
func (m *memory) noteBoot(p processSigns, now time.Time) {
	if p.uptime <= 0 {
		return
	}
	if booted := now.Add(-p.uptime); m.Booted.IsZero() || booted.Sub(m.Booted) > slackOfUptime {
		m.Booted = booted
	}
}

// refusals are what this replica has seen of connections that the server refused. Only the watch's own goroutine
// uses them.
type refusals struct{ first, last time.Time }

// note notes how an attempt to reach the server ended. A connection that is refused has nobody listening for it:
// one that times out, or breaks off, tells nothing of the process.
func (f *refusals) note(err error, now time.Time) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return
	}
	if f.first.IsZero() {
		f.first = now
	}
	f.last = now
}

// signs are what is to be told once the server answers again.
func (f *refusals) signs() processSigns {
	return processSigns{refused: f.last, refusedLong: f.last.Sub(f.first) >= time.Second}
}

// askUptime gives for how long the server says it is up; 0 when it does not say. One that does not is not asked
// again before it has been away; that it is too busy, or somebody before it is, says nothing of what it would tell.
func (d *DataWatch) askUptime(ctx context.Context) (time.Duration, error) {
	if d.tellsNoUptime {
		return 0, nil
	}
	res, body, err := d.client.get(ctx, "/api/status", nil)
	if err != nil {
		return 0, err
	}
	var a struct {
		Uptime float64 `json:"uptime"` // in seconds, as Node has it
	}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= http.StatusInternalServerError {
		return 0, nil
	}
	if res.StatusCode != http.StatusOK || keying.ReadJSON(body, &a) != nil || a.Uptime <= 0 {
		d.tellsNoUptime = true
		return 0, nil
	}
	return time.Duration(a.Uptime * float64(time.Second)), nil
}
