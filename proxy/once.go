package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warmfront/proxy/lease"
	"warmfront/proxy/store"
)

// What the holder of a computation's lease tells those who wait for it on other replicas.
const (
	noteKept    = "kept"   // the answer is in Redis
	noteNotKept = "alone"  // it isn't, and another's would not be either: everybody asks
	noteFailed  = "failed" // the server gave none, or the holder's clients have left: the next one tries
)

// maxOthersFailures is how many failures of others somebody waits through before asking anyway.
const maxOthersFailures = 3

func newOnceCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warmfront_computations_total",
		Help: "Computations needed by this replica: made under their lease (holder), taken from another replica (shared), or made without a lease (alone).",
	}, []string{"lease"})
}

// fillOnce fills for all replicas: one of them asks the server, the others wait until its answer is in Redis and take
// it from there as any later hit would, so it is as right as a hit. A caller whose answer can't be another's
// asks for itself. Nobody waits for a holder that has died, for a Redis that doesn't say, or for answers that are
// not kept; a holder's failure is nobody else's.
func (p *Proxy) fillOnce(ctx context.Context, a *ask) *result {
	if !a.sure || !a.still || a.cutOff || !p.sharesWidely(a) {
		return p.fillFor(ctx, a)
	}
	watch := p.leases.Watch(a.key)
	defer watch.Stop()
	ends := time.Now().Add(p.cfg.UpstreamTimeout)
	for failures := 0; failures < maxOthersFailures; {
		held, err := p.leases.Take(ctx, a.key)
		switch {
		case err == nil:
			return p.fillHolding(ctx, a, held)
		case ctx.Err() != nil:
			return &result{err: ctx.Err()}
		case errors.Is(err, lease.ErrUnknown):
			return p.fillAlone(ctx, a)
		case time.Now().After(ends): // as it would be to the call that it waits for
			return &result{err: errUpstreamTimeout, took: p.cfg.UpstreamTimeout}
		}
		note, err := watch.Wait(ctx)
		if err != nil {
			return &result{err: err}
		}
		if e := p.sharedEntry(ctx, a); e != nil {
			p.metrics.once.WithLabelValues("shared").Inc()
			return &result{entry: e, tier: redisTier}
		}
		switch note {
		case noteNotKept:
			return p.fillAlone(ctx, a)
		case noteFailed:
			failures++
		}
	}
	return p.fillAlone(ctx, a)
}

func (p *Proxy) fillAlone(ctx context.Context, a *ask) *result {
	p.metrics.once.WithLabelValues("alone").Inc()
	return p.fillFor(ctx, a)
}

// fillHolding fills as the holder of the lease, unless another has done so just before, and ends the lease once
// the answer is in Redis, or won't be.
func (p *Proxy) fillHolding(ctx context.Context, a *ask, held *lease.Lease) *result {
	release := func() string { return noteFailed }
	defer func() { held.ReleaseAfter(release) }()
	if e := p.sharedEntry(ctx, a); e != nil {
		p.metrics.once.WithLabelValues("shared").Inc()
		release = func() string { return noteKept }
		return &result{entry: e, tier: redisTier}
	}
	p.metrics.once.WithLabelValues("holder").Inc()
	res := p.fillFor(ctx, a)
	release = func() string { return noteOf(res) }
	return res
}

// noteOf waits until it is known whether a result is in Redis.
func noteOf(res *result) string {
	switch {
	case res.entry != nil && <-res.shared:
		return noteKept
	case res.entry != nil:
		return noteNotKept
	case res.answer == nil || res.answer.broken != nil:
		return noteFailed
	}
	switch res.answer.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return noteFailed // many at once would make it worse
	}
	return noteNotKept
}

// sharedEntry gives the answer that Redis has for the request, if it may be served as a hit; nil otherwise.
func (p *Proxy) sharedEntry(ctx context.Context, a *ask) *store.Entry {
	e := p.fromRedis(ctx, a.key)
	if e == nil || !p.isUsable(a, e) || !p.may(a, e) {
		return nil
	}
	p.memory.Set(e)
	return e
}
