package warm

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"warmfront/warm/seed"
)

// A pass is one go at everything that there is to warm, for one state of the data.
type pass struct {
	handler http.Handler
	host    string
	world   World
	journal *Journal
	gate    *gate
	rec     *recorder
	log     *zap.Logger
	workers int
	info    *runInfo
	done    map[string]bool // by an earlier holder of the lease
	began   time.Time       // of asking
	asked   time.Time       // its end

	settled  atomic.Bool
	hopeless atomic.Pointer[string] // why asking on makes no sense
	refusals atomic.Int32           // in a row
	failures atomic.Int32           // that were the server's

	seeds Jobs
	bots  map[string]bot // as listed

	mu      sync.Mutex
	reports map[string]seed.Report
	buried  map[string]bool // bots that were found to be no more
	drops   []string        // entries of the journal that have no place any more
}

func (l *Loop) newPass(token string, info *runInfo, t tally, done map[string]bool) *pass {
	return &pass{
		handler: l.o.Handler, host: l.o.Host, world: l.o.World, journal: l.journal, log: l.log, workers: l.o.Concurrency,
		gate: newGate(l.o.Concurrency, l.o.World.UsersWaiting, l.metrics),
		rec:  newRecorder(l.ledger, token, info, t, l.metrics), info: info, done: done, buried: map[string]bool{},
		seeds: l.o.Jobs, reports: map[string]seed.Report{},
	}
}

// setSettled opens and closes the gate as the data comes to rest or moves.
func (p *pass) setSettled(settled bool) {
	p.settled.Store(settled)
	p.gate.set(!settled)
}

// run does it all. The error is the context's.
func (p *pass) run(ctx context.Context) error {
	p.rec.stage(stageWaiting)
	if err := p.awaitSettled(ctx); err != nil {
		return err
	}
	p.log.Info("warm run begins", zap.String("reason", p.info.Reason), zap.String("date", p.info.Date), zap.Int("doneBefore", len(p.done)))
	p.rec.stage(stageListing)
	made, err := p.plan(ctx)
	if err != nil {
		return err
	}
	p.rec.total(p.rec.snapshot().done() + made.left(p.done) + len(p.jobs()))
	if err := p.seedPrices(ctx); err != nil {
		return err
	}
	p.began = time.Now()
	for _, stage := range stages {
		groups := made[stage]
		left := plan{stage: groups}.left(p.done)
		if left == 0 {
			continue
		}
		p.rec.stage(stage)
		p.log.Info("warm stage begins", zap.String("stage", stage), zap.Int("requests", left))
		if err := p.stage(ctx, groups); err != nil {
			return err
		}
	}
	p.forget(ctx)
	p.asked = time.Now()
	return p.seedCorrelations(ctx)
}

func (p *pass) awaitSettled(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !p.settled.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// plan reads the journal and the server's lists. A journal that can't be read is an empty one.
func (p *pass) plan(ctx context.Context) (plan, error) {
	now := time.Now()
	p.journal.flush(ctx) // what was just asked counts as well
	entries, err := p.journal.keeper.load(ctx, now)
	if err != nil && ctx.Err() == nil {
		p.log.Warn("the journal can't be read; only bots that the server lists are warmed", zap.Error(err))
	}
	p.journal.metrics.journal.Set(float64(len(entries)))
	bots, err := p.listBots(ctx, namedBots(entries))
	if err != nil {
		return nil, err
	}
	p.bots = bots
	made, gone := makePlan(bots, entries, now)
	p.drops = append(p.drops, gone...)
	p.forget(ctx)
	return made, nil
}

// namedBots are those that entries depend on.
func namedBots(entries []Entry) (ids []string) {
	for i := range entries {
		if a, err := unpack(entries[i].packed); err == nil {
			ids = append(ids, a.Bots...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// stage asks for groups, several at a time; the next one is unpacked while others are under way.
func (p *pass) stage(ctx context.Context, groups []*group) error {
	work, ctx := errgroup.WithContext(ctx)
	feed := make(chan *group)
	work.Go(func() error {
		defer close(feed)
		for _, g := range groups {
			p.prepare(g)
			select {
			case feed <- g:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range p.workers {
		work.Go(func() error {
			for g := range feed {
				if err := p.askAll(ctx, g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// prepare makes what is left of g ready to be asked.
func (p *pass) prepare(g *group) {
	g.requests = slices.DeleteFunc(g.requests, func(r *request) bool {
		if p.done[r.id] {
			return true
		}
		if err := r.prepare(); err != nil {
			p.drop(r.id)
			p.rec.add(r.id, failed, "damaged")
			return true
		}
		return false
	})
}

func (p *pass) askAll(ctx context.Context, g *group) error {
	for _, r := range g.requests {
		how, why, err := p.askOne(ctx, r)
		if err != nil {
			return err
		}
		r.asked = nil
		p.rec.add(r.id, how, why)
	}
	return nil
}

// askOne asks unless there is no point in it.
func (p *pass) askOne(ctx context.Context, r *request) (outcome, string, error) {
	if why := p.hopeless.Load(); why != nil {
		return failed, *why, nil
	}
	if p.isBuried(r) {
		p.drop(r.id)
		return gone, "", nil
	}
	how, why, err := p.ask(ctx, r)
	switch how {
	case gone:
		p.bury(r)
	case failed:
		p.log.Debug("not warmed", zap.String("route", r.route), zap.String("reason", why))
	}
	p.refused(why)
	return how, why, err
}

// maxRefusals is after how many requests in a row that the server wanted credentials for the rest is not
// asked for.
const maxRefusals = 5

func (p *pass) refused(why string) {
	if why != statusReason(http.StatusUnauthorized) {
		p.refusals.Store(0)
		return
	}
	if p.refusals.Add(1) == maxRefusals {
		p.hopeless.Store(&why)
		p.log.Warn("the server asks for credentials that Warmfront doesn't have: the rest is not warmed; set UPSTREAM_EMAIL and UPSTREAM_PASSWORD")
	}
}

func (p *pass) isBuried(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(r.bots, func(id string) bool { return p.buried[id] })
}

// bury drops r, and with it everything about its bot, which the server says doesn't exist.
func (p *pass) bury(r *request) {
	p.drop(r.id)
	if r.bot != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.buried[r.bot] = true
	}
}

func (p *pass) drop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops = append(p.drops, id)
}

// forget takes out of the journal what has no place in it any more.
func (p *pass) forget(ctx context.Context) {
	p.mu.Lock()
	ids := p.drops
	p.drops = nil
	p.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	if err := p.journal.keeper.drop(ctx, ids); err != nil && ctx.Err() == nil {
		p.log.Debug("not dropped from the journal", zap.Error(err))
	}
}

func (p *pass) troubled() int { return int(p.failures.Load()) }
