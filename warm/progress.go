package warm

import (
	"maps"
	"time"

	"warmfront/warm/seed"
)

// A Report tells of a run that has ended.
type Report struct {
	Reason      string         `json:"reason"`
	End         string         `json:"end"` // finished or stopped
	Date        string         `json:"date"`
	StartedAt   time.Time      `json:"startedAt"`
	FinishedAt  time.Time      `json:"finishedAt"`
	Seconds     float64        `json:"seconds"`
	Restarts    int            `json:"restarts"` // because the data moved
	Done        int            `json:"done"`
	Total       int            `json:"total"`
	Warmed      int            `json:"warmed"`
	Skipped     int            `json:"skipped"`
	Provisional int            `json:"provisional"`
	Gone        int            `json:"gone"`
	Failed      int            `json:"failed"`
	Failures    map[string]int `json:"failures"` // by reason
	Rate        float64        `json:"ratePerSecond"`
	// Busy is the share of the time of asking in which the server had one of the requests at least,
	// Used how much of the concurrency was made use of on average. Of the last replica, if several.
	Busy float64 `json:"busy"`
	Used float64 `json:"used"`
	// Jobs are the server's nightly jobs that were done for it by the replica that finished the run.
	Jobs map[string]seed.Report `json:"jobs,omitempty"`
}

func (p *pass) report(end string) *Report {
	t, now := p.rec.snapshot(), time.Now().UTC()
	r := &Report{
		Reason: p.info.Reason, End: end, Date: p.info.Date, StartedAt: p.info.StartedAt, FinishedAt: now,
		Seconds: now.Sub(p.info.StartedAt).Seconds(), Restarts: p.info.Restarts, Done: t.done(), Total: t.total,
		Warmed: t.counts[warmed], Skipped: t.counts[skipped], Provisional: t.counts[provisional], Gone: t.counts[gone], Failed: t.counts[failed],
		Failures: t.reasons,
	}
	if r.Seconds > 0 {
		r.Rate = float64(r.Done) / r.Seconds
	}
	if !p.began.IsZero() {
		until := p.asked
		if until.IsZero() {
			until = now
		}
		r.Busy, r.Used = p.gate.share(until.Sub(p.began))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.reports) > 0 {
		r.Jobs = maps.Clone(p.reports)
	}
	return r
}

// Progress is what GET /_warmfront/warm answers, on every replica the same.
type Progress struct {
	Running     bool           `json:"running"`
	Stage       *string        `json:"stage"`
	Done        int            `json:"done"`
	Total       int            `json:"total"`
	Skipped     int            `json:"skipped"`
	Failed      int            `json:"failed"`
	StartedAt   *time.Time     `json:"startedAt"`
	ETASeconds  *float64       `json:"etaSeconds"`
	LastRun     *Report        `json:"lastRun"`
	Reason      string         `json:"reason,omitempty"`
	Warmed      int            `json:"warmed"`
	Provisional int            `json:"provisional"`
	Gone        int            `json:"gone"`
	Failures    map[string]int `json:"failures"`
}

// stageStarting is shown between a start by hand and the run's beginning.
const stageStarting = "starting"

func (v *view) progress(now time.Time) Progress {
	p := Progress{LastRun: v.last, Failures: map[string]int{}}
	if v.run == nil {
		if v.wanted {
			stage := stageStarting
			p.Running, p.Stage = true, &stage
		}
		return p
	}
	t := v.tally
	p.Running, p.Stage, p.Reason, p.StartedAt = true, &t.stage, v.run.Reason, &v.run.StartedAt
	p.Done, p.Total, p.Failures = t.done(), t.total, t.reasons
	p.Warmed, p.Skipped, p.Provisional, p.Gone, p.Failed = t.counts[warmed], t.counts[skipped], t.counts[provisional], t.counts[gone], t.counts[failed]
	if left := p.Total - p.Done; p.Done > 0 && left >= 0 {
		eta := now.Sub(v.run.StartedAt).Seconds() / float64(p.Done) * float64(left)
		p.ETASeconds = &eta
	}
	return p
}

// Summary is what readyz says of the loop, from memory.
type Summary struct {
	Running bool   `json:"running"`
	Stage   string `json:"stage,omitempty"`
	Done    int    `json:"done,omitempty"`
	Total   int    `json:"total,omitempty"`
}

// Summary is at most a second old.
func (l *Loop) Summary() Summary {
	var v view
	if seen := l.seen.Load(); seen != nil {
		v = *seen
	}
	l.ownRun(&v)
	p := v.progress(time.Now())
	s := Summary{Running: p.Running, Done: p.Done, Total: p.Total}
	if p.Stage != nil {
		s.Stage = *p.Stage
	}
	return s
}

// ownRun puts what this replica knows at first hand into v.
func (l *Loop) ownRun(v *view) {
	if rec := l.current.Load(); rec != nil {
		v.run, v.tally, v.wanted = rec.info, rec.snapshot(), false
	}
}
