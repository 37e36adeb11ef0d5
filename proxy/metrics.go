package proxy

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"warmfront/keying"
)

// metrics are what /_warmfront/metrics shows. What a hit counts is looked up at the start.
type metrics struct {
	handler      http.Handler
	registry     *prometheus.Registry // for counters that are kept where they are counted
	requests     map[*keying.Route]*[outcomes][3]prometheus.Counter
	upstreams    map[*keying.Route]prometheus.Observer
	redisErrors  *prometheus.CounterVec
	redisForeign prometheus.Counter
	behind       prometheus.Counter
	once         *prometheus.CounterVec
}

func newMetrics(routes []*keying.Route, memoryUsed func() int64) *metrics {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warmfront_requests_total", Help: "Intercepted requests by route, outcome (X-Cache) and tier.",
	}, []string{"route", "outcome", "tier"})
	upstreams := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "warmfront_upstream_seconds", Help: "Time of calls to the upstream until the answer was complete, in seconds.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
	}, []string{"route"})
	m := &metrics{
		registry:  registry,
		once:      newOnceCounter(),
		handler:   promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		requests:  map[*keying.Route]*[outcomes][3]prometheus.Counter{},
		upstreams: map[*keying.Route]prometheus.Observer{},
		redisErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_redis_errors_total", Help: "Calls to Redis that failed or were not made because it is being left alone.",
		}, []string{"call"}),
		redisForeign: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "warmfront_redis_foreign_total", Help: "Values in Redis that were damaged, of another version, or not ours.",
		}),
		behind: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "warmfront_behind_data_total", Help: "Answers that ended before the data did, and were kept for minutes only.",
		}),
	}
	for _, route := range routes {
		table := &[outcomes][3]prometheus.Counter{}
		for how := range outcomes {
			for i, tier := range tiers {
				table[how][i] = requests.WithLabelValues(route.Name, how.String(), tier)
			}
		}
		m.requests[route] = table
		m.upstreams[route] = upstreams.WithLabelValues(route.Name)
	}
	registry.MustRegister(requests, upstreams, m.redisErrors, m.redisForeign, m.behind, m.once,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "warmfront_memory_bytes", Help: "What the memory tier keeps, in bytes as stored.",
		}, func() float64 { return float64(memoryUsed()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

var tiers = [3]string{memoryTier, redisTier, upstreamTier}

func (m *metrics) count(route *keying.Route, how outcome, tier string) {
	for i := range tiers {
		if tiers[i] == tier {
			m.requests[route][how][i].Inc()
		}
	}
}

func (m *metrics) upstream(route *keying.Route, took time.Duration) {
	m.upstreams[route].Observe(took.Seconds())
}

// done counts and logs an intercepted request. Neither holds anything of its body: keys are hashes.
func (p *Proxy) done(a *ask, how outcome, tier string, status int, reason string) {
	if isWarming(a.in.Context()) {
		return // the loop counts its own
	}
	p.note(a, how, status)
	p.metrics.count(a.route, how, tier)
	if entry := p.log.Check(zap.InfoLevel, "request"); entry != nil {
		entry.Write(zap.String("route", a.route.Name), zap.String("key", a.key), zap.Stringer("outcome", how),
			zap.String("tier", tier), zap.Int("status", status), zap.Duration("took", time.Since(a.started)),
			zap.Duration("upstream", a.waited), zap.String("detail", reason))
	}
}
