package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"warmfront/warm"
)

// A view shows a run to a person.
type view interface {
	show(*warm.Progress)
	end(*warm.Report)
	line(string)
}

// lines are for logs and pipes: one whenever the stage changes, and every tenth of the whole.
type lines struct {
	out   io.Writer
	stage string
	tenth int
}

func (l *lines) line(s string) { fmt.Fprintln(l.out, s) }

func (l *lines) show(p *warm.Progress) {
	stage, tenth := stageOf(p), 0
	if p.Total > 0 {
		tenth = 10 * p.Done / p.Total
	}
	if !p.Running || stage == l.stage && tenth == l.tenth {
		return
	}
	l.stage, l.tenth = stage, tenth
	l.line(fmt.Sprintf("%-10s %d/%d done, %d skipped, %d failed%s", stage, p.Done, p.Total, p.Skipped, p.Failed, left(p)))
}

func (l *lines) end(r *warm.Report) { l.line(summary(r)) }

func stageOf(p *warm.Progress) string {
	if p.Stage == nil {
		return ""
	}
	return *p.Stage
}

func left(p *warm.Progress) string {
	if p.ETASeconds == nil {
		return ""
	}
	return ", " + seconds(*p.ETASeconds) + " left"
}

func seconds(s float64) string {
	return (time.Duration(s*1000) * time.Millisecond).Round(time.Second).String()
}

// summary is the end of a run in a few lines.
func summary(r *warm.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %s: %d of %d done (%.1f/s), %d warmed, %d skipped (warm already), %d provisional, %d gone, %d failed",
		r.End, seconds(r.Seconds), r.Done, r.Total, r.Rate, r.Warmed, r.Skipped, r.Provisional, r.Gone, r.Failed)
	var reasons []string
	for reason := range r.Failures {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		fmt.Fprintf(&b, "\n  failed, %s: %d", reason, r.Failures[reason])
	}
	return b.String()
}

// bar is for terminals.
type bar struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	total int
}

func (b *bar) show(p *warm.Progress) {
	if !p.Running || p.Total == 0 {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions(p.Total, progressbar.OptionSetWriter(b.out), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionUseANSICodes(true))
	}
	if p.Total != b.total {
		b.total = p.Total
		b.bar.ChangeMax(p.Total)
	}
	b.bar.Describe(fmt.Sprintf("%-10s%s", stageOf(p), left(p)))
	_ = b.bar.Set(p.Done) // the terminal is gone: nobody to tell
}

func (b *bar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

func (b *bar) line(s string) {
	b.clear()
	fmt.Fprintln(b.out, s)
}

func (b *bar) end(r *warm.Report) { b.line(summary(r)) }
