package warm

import "github.com/prometheus/client_golang/prometheus"

// metrics are what Prometheus is told. All are made at the start, so that a graph begins at zero.
type metrics struct {
	runs     *prometheus.CounterVec
	requests *prometheus.CounterVec
	forgot   *prometheus.CounterVec
	inFlight prometheus.Gauge
	journal  prometheus.Gauge
}

// newMetrics registers with registry; nil is nobody.
func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_warm_runs_total", Help: "Warm runs that ended on this replica, by how.",
		}, []string{"end"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_warm_requests_total", Help: "Requests of warm runs by outcome.",
		}, []string{"outcome"}),
		forgot: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warmfront_warm_forgotten_total", Help: "Requests of users that the journal did not remember, by reason.",
		}, []string{"reason"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "warmfront_warm_in_flight", Help: "Requests of the warm run that are under way.",
		}),
		journal: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "warmfront_warm_journal_entries", Help: "Requests that the journal remembered when it was last looked at.",
		}),
	}
	for _, end := range []string{endFinished, endStopped, endMoved, endLost} {
		m.runs.WithLabelValues(end)
	}
	for _, o := range outcomes {
		m.requests.WithLabelValues(string(o))
	}
	for _, reason := range []string{"busy", "redis", "query", "too-large", "malformed"} {
		m.forgot.WithLabelValues(reason)
	}
	if registry != nil {
		registry.MustRegister(m.runs, m.requests, m.forgot, m.inFlight, m.journal)
	}
	return m
}

func (m *metrics) forgotten(reason string, n int) { m.forgot.WithLabelValues(reason).Add(float64(n)) }
