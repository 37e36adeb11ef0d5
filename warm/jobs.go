package warm

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/warm/seed"
)

// The server's nightly jobs that a run does for it (contract, section "Redis, as the server's own...").
const (
	jobCandles      = "seed-candles"
	jobIndicators   = "seed-indicators"
	jobCorrelations = "seed-correlations"
)

// Jobs is what the jobs need. A job whose part is missing is not done: without a directory there are
// neither candles nor indicators, without a Redis and a database no correlations.
type Jobs struct {
	Seeder *seed.Seeder
	Redis  bool   // there is one to write to
	Dir    string // of the price files; "" when they can't be seen
	Table  bool   // there is a database for the correlations
}

// has reports whether the job is to be done.
func (j Jobs) has(job string) bool {
	switch {
	case j.Seeder == nil:
		return false
	case job == jobCorrelations:
		return j.Redis || j.Table
	}
	return j.Redis && j.Dir != ""
}

// jobs are those that are left to do in this run.
func (p *pass) jobs() (left []string) {
	for _, job := range []string{jobCandles, jobIndicators, jobCorrelations} {
		if p.seeds.has(job) && !p.done[job] {
			left = append(left, job)
		}
	}
	return left
}

// job does one of the jobs, if it is left to do. What goes wrong ends the job and not the run; the error
// is the context's.
func (p *pass) job(ctx context.Context, job string, do func(seed.Progress) (seed.Report, error)) error {
	if !slices.Contains(p.jobs(), job) {
		return nil
	}
	p.rec.stage(job)
	p.log.Info("warm stage begins", zap.String("stage", job))
	report, err := do(nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	p.reports[job] = report
	p.mu.Unlock()
	if err != nil {
		p.log.Warn("a nightly job failed", zap.String("job", job), zap.Error(err))
		p.rec.add(job, failed, job)
		return nil
	}
	p.rec.add(job, warmed, "")
	return nil
}

// seedPrices does the jobs that read the price files.
func (p *pass) seedPrices(ctx context.Context) error {
	err := p.job(ctx, jobCandles, func(progress seed.Progress) (seed.Report, error) {
		return p.seeds.Seeder.Candles(ctx, p.seeds.Dir, progress)
	})
	if err != nil {
		return err
	}
	return p.job(ctx, jobIndicators, func(progress seed.Progress) (seed.Report, error) {
		return p.seeds.Seeder.Indicators(ctx, p.seeds.Dir, p.payloads(ctx), progress)
	})
}

// payloads are the strategies of all bots that live, asked for one by one: together they may be more
// than there is room for. What is not shown is left out.
func (p *pass) payloads(ctx context.Context) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, id := range slices.Sorted(maps.Keys(p.bots)) {
			if p.bots[id].deleted || ctx.Err() != nil {
				continue
			}
			if payload := p.payload(ctx, id); payload != nil && !yield(payload) {
				return
			}
		}
	}
}

// payload asks for a bot's strategy, as its owner would: the payload of a nexus bot is shown to nobody else
// (details, section 3).
func (p *pass) payload(ctx context.Context, id string) []byte {
	path := "/api/bots/" + url.PathEscape(id)
	if owner := p.bots[id].owner; owner != "" {
		path += "?userId=" + url.QueryEscape(owner)
	}
	status, body, err := p.world.Ask(ctx, http.MethodGet, path, nil)
	if err != nil || status != http.StatusOK {
		return nil
	}
	type shown struct {
		Payload jsontext.Value `json:"payload"`
	}
	var a struct {
		Bot shown `json:"bot"`
		shown
	}
	if keying.ReadJSON(body, &a) != nil {
		return nil
	}
	if a.Bot.Payload == nil {
		return a.Payload
	}
	return a.Bot.Payload
}

// seedCorrelations correlates the backtests of the nexus bots, which have just been warmed.
func (p *pass) seedCorrelations(ctx context.Context) error {
	return p.job(ctx, jobCorrelations, func(progress seed.Progress) (seed.Report, error) {
		var curves []seed.Curve
		for _, id := range slices.Sorted(maps.Keys(p.bots)) {
			if b := p.bots[id]; b.nexus && !b.deleted && ctx.Err() == nil {
				if c, err := p.curve(ctx, &b); err == nil {
					curves = append(curves, c)
				} else {
					p.log.Debug("left out of the correlations", zap.Error(err))
				}
			}
		}
		return p.seeds.Seeder.Correlations(ctx, curves, progress)
	})
}

// curve takes the equity curve from a bot's stored backtest.
func (p *pass) curve(ctx context.Context, b *bot) (seed.Curve, error) {
	r, err := b.stored()
	if err != nil {
		return seed.Curve{}, err
	}
	if err := p.gate.enter(ctx); err != nil {
		return seed.Curve{}, err
	}
	w := &kept{discard: discard{header: http.Header{}}}
	a := p.send(ctx, r, "identity", w)
	p.gate.leave(r, 0, untouched)
	if w.status != http.StatusOK {
		return seed.Curve{}, errNotShown
	}
	_ = a // stored or not, it is the backtest as the server has it now
	return seed.ReadCurve(b.id, w.body.Bytes())
}

// kept is an answer that is read.
type kept struct {
	discard
	body bytes.Buffer
}

func (k *kept) Write(b []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(b)
}
