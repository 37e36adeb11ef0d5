package oracle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An Op is one operation. Those with a Path are requests; a check follows where the route is one of the
// intercepted. It is plain data: printed as JSON, it can be played again.
type Op struct {
	N        int            `json:"n"`
	Kind     string         `json:"kind"`
	Replica  int            `json:"replica"` // -1 is the server itself
	Method   string         `json:"method,omitempty"`
	Path     string         `json:"path,omitempty"`
	Body     map[string]any `json:"body,omitempty"`
	Strategy *int           `json:"strategy,omitempty"` // goes into the body as payload, with fresh ids
	Header   string         `json:"header,omitempty"`   // lines
	Raw      string         `json:"raw,omitempty"`      // goes as the body as it stands
	DelayMS  int            `json:"delayMs,omitempty"`  // the server gets to the request so much later
	LateMS   int            `json:"lateMs,omitempty"`   // its answer is held back for so long
	Mode     string         `json:"mode,omitempty"`     // of a sync
	TookMS   int            `json:"tookMs,omitempty"`
	Key      string         `json:"key,omitempty"` // of Redis, which loses it
	Check    bool           `json:"check,omitempty"`
	Admin    bool           `json:"admin,omitempty"`   // sent with an admin's token
	Refused  bool           `json:"refused,omitempty"` // the server would let nobody in particular have this
}

// A Mix says how often which kind of operation comes, relative to the others.
type Mix map[string]float64

// everything is the mix that leaves nothing out.
func everything() Mix {
	return Mix{
		"run": 36, "adhoc": 5, "bot-sanity": 8, "sanity": 1.5, "optimize": 8, "recommend": 5, "indicators": 4, "benchmarks": 4, "candles": 6, "batch": 5,
		"edit": 8, "tag": 3, "delete": 0.8, "restore": 3, "create": 2, "metrics": 1.5,
		"invalidate-bot": 0.5, "invalidate": 0.3, "refresh": 0.3,
		"sync": 0.7, "run-now": 0.2, "download": 0.2, "memory-lost": 0.3, "refused": 1, "stalled": 0.3, "unread": 1.5, "waitlist": 0.1,
		"restart": 0.3, "flush": 0.5, "evict": 0.3, "outage": 0.3,
	}
}

// with is the mix with some kinds more or less often.
func (m Mix) with(more Mix) Mix {
	all := maps.Clone(m)
	maps.Copy(all, more)
	return all
}

// calm is the mix of times in which little happens but reading: only then are answers kept for long.
func (m Mix) calm() Mix {
	calm := maps.Clone(m)
	for kind := range calm {
		if kind != "restore" && !slices.Contains(reads, kind) {
			calm[kind] /= 8
		}
	}
	return calm
}

// reads are the kinds of operations whose answers are checked.
var reads = []string{
	"run", "unread", "adhoc", "bot-sanity", "sanity", "optimize", "recommend", "indicators", "benchmarks", "candles", "batch",
}

// A maker makes operations from a seed.
type maker struct {
	*rand.Rand
	Plan
	ops []Op
}

// operations are n random ones, the same for the same seed and plan.
func (p Plan) operations(seed uint64, n int) []Op {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1)), Plan: p}
	calm, storm := m.Mix.calm(), m.Mix
	outage := -1 // where Redis comes back
	for len(m.ops) < n {
		if outage >= 0 && len(m.ops) >= outage {
			m.add(Op{Kind: "redis-start"})
			outage = -1
		}
		mix := storm
		if p.Calms && len(m.ops)/150%3 != 0 {
			mix = calm
		}
		switch kind := m.kind(mix); {
		case kind != "outage":
			m.add(m.op(kind))
		case outage < 0:
			m.add(Op{Kind: "redis-stop"})
			outage = len(m.ops) + 10 + m.IntN(40)
		}
	}
	if outage >= 0 {
		m.add(Op{Kind: "redis-start"})
	}
	return m.ops
}

// kind gives one of the mix.
func (m *maker) kind(mix Mix) string {
	kinds := slices.Sorted(maps.Keys(mix))
	total := 0.0
	for _, kind := range kinds {
		total += mix[kind]
	}
	at := m.Float64() * total
	for _, kind := range kinds {
		if at -= mix[kind]; at < 0 {
			return kind
		}
	}
	return kinds[0]
}

func (m *maker) add(op Op) {
	op.N = len(m.ops)
	m.ops = append(m.ops, op)
}

// one gives an element, the first half of the time.
func one[T any](m *maker, of ...T) T {
	if m.IntN(2) == 0 {
		return of[0]
	}
	return of[m.IntN(len(of))]
}

func (m *maker) op(kind string) Op {
	op := Op{Kind: kind, Replica: -1}
	if m.Replicas > 0 {
		op.Replica = m.IntN(m.Replicas)
	}
	bot := botID(m.IntN(bots))
	switch kind {
	case "restart":
		if m.Fresh { // one must stay: of what Redis has lost while all restart nobody can know
			op.Replica = 0
		}
	case "flush":
	case "memory-lost":
		op.TookMS = one(m, 0, 300, 1200)
	case "evict":
		op.Key = one(m, "notices", "writes", "replicas", "seq", "meta")
	case "sync":
		op.Mode, op.TookMS = one(m, "restate", "append", "append", "holiday"), int((m.SyncTook/2 + time.Duration(m.Int64N(int64(m.SyncTook)))).Milliseconds())
	case "run-now", "download", "invalidate", "invalidate-bot", "refresh":
		m.admin(&op, bot)
	case "waitlist": // it deletes private bots without tags
		op.Method, op.Path = "GET", "/api/waitlist/stats"
	case "refused":
		m.refused(&op, bot)
	case "stalled":
		m.refused(&op, bot)
		op.Raw, op.Header, op.TookMS = `{"a"`, "", 20+m.IntN(400)
	case "edit", "tag", "delete", "restore", "create", "metrics":
		m.write(&op, bot)
	default:
		m.read(&op, bot)
	}
	return op
}

func (m *maker) write(op *Op, bot string) {
	op.Method, op.Path = "PUT", "/api/bots/"+bot
	strategy := m.strategy()
	switch op.Kind {
	case "edit":
		op.Strategy, op.Body = &strategy, map[string]any{"ownerId": owner, "name": bot, "tags": []string{}}
	case "tag": // the payload is the saved one, looked up when it is sent
		op.Body = map[string]any{"ownerId": owner, "name": bot, "tags": []string{fmt.Sprint("tag ", m.IntN(100))}}
	case "delete":
		op.Method, op.Path = "DELETE", op.Path+"?ownerId="+owner
	case "restore":
		op.Method, op.Path, op.Body = "POST", op.Path+"/restore", map[string]any{"ownerId": owner}
	case "create":
		op.Method, op.Path, op.Strategy, op.Body = "POST", "/api/bots", &strategy, newBot(int(bot[len(bot)-1]-'0'), 0)
	case "metrics":
		op.Path += "/metrics"
		op.Body = map[string]any{"metrics": map[string]any{"cagr": m.Float64(), "sharpeRatio": 1 + m.Float64(), "volatility": m.Float64(), "beta": m.Float64()}}
	}
	if m.Float64() < m.Direct {
		op.Replica = -1
	}
	m.slow(op)
}

// slow makes the server slow with some, before it gets to a request or after.
func (m *maker) slow(op *Op) {
	if m.Float64() >= m.Delay {
		return
	}
	if m.IntN(2) == 0 {
		op.DelayMS = 5 + m.IntN(60)
	} else {
		op.LateMS = 5 + m.IntN(60)
	}
}

func (m *maker) read(op *Op, bot string) {
	op.Check, op.Method, op.Body = true, "POST", map[string]any{}
	switch op.Kind {
	case "run":
		op.Path = "/api/bots/" + bot + "/run-backtest"
		op.Body["mode"], op.Body["costBps"] = one(m, "CC", "CC", "OO", "OC"), one(m, 5, 5, 0, 20)
		op.Body["benchmarkTicker"], op.Body["forceRefresh"] = one(m, "SPY", "SPY", "QQQ"), m.IntN(25) == 0
	case "adhoc":
		op.Path, op.Strategy = "/api/backtest", new(m.strategy())
		op.Body["mode"], op.Body["costBps"] = one(m, "CC", "OO"), one(m, 5, 20)
		op.Body["benchmarkTicker"] = one(m, "SPY", "QQQ")
	case "unread": // the server takes a body of this media type for none (trap 25)
		op.Path, op.Raw, op.Header = "/api/bots/"+bot+"/run-backtest", `{"mode":"OO","costBps":20}`, one(m, unread, unread+"\tcharset=utf-8")
	case "bot-sanity":
		op.Path, op.Body["years"] = "/api/bots/"+bot+"/sanity-report", 1
		if m.IntN(3) == 0 {
			op.Body["seed"] = 40 + m.IntN(3)
		}
		op.Body["blockSize"] = one(m, 7, 10)
	case "sanity":
		op.Path, op.Strategy = "/api/sanity-report", new(m.IntN(2))
		op.Body["years"], op.Body["mode"] = 1, one(m, "CC", "OO")
	case "optimize":
		op.Path, op.Body["botIds"] = "/api/correlation/optimize", m.some(2)
		op.Body["metric"] = one(m, "sharpe", "correlation", "volatility", "beta")
	case "recommend":
		op.Path, op.Body["currentBotIds"], op.Body["candidateBotIds"] = "/api/correlation/recommend", m.some(1), m.some(2)
	case "indicators":
		t := one(m, "SPY", "XOM", "QQQ")
		op.Path, op.Body["mode"] = "/api/indicator-series", one(m, "OC", "CC")
		op.Body["conditions"] = []any{map[string]any{"id": "c1", "ticker": t, "metric": "Relative Strength Index", "window": 10, "comparator": "gt", "threshold": 50}}
	case "benchmarks":
		op.Method, op.Body, op.Path = "GET", nil, "/api/benchmarks/metrics?tickers="+one(m, "SPY", "QQQ,XOM", "TLT,SPY")
	case "candles":
		op.Method, op.Body, op.Path = "GET", nil, fmt.Sprintf("/api/candles/%s?limit=%d", tickers[m.IntN(len(tickers))], 60)
	case "batch":
		op.Path, op.Body["tickers"] = "/api/candles/batch", strings.Split(one(m, "SPY", "AAPL,QQQ", "XOM,A", "ZZZ"), ",")
		op.Body["limit"] = one(m, 60, 100)
	default:
		panic("no such kind of operation: " + op.Kind)
	}
	if op.Header != "" {
		return
	}
	switch m.IntN(60) {
	case 0:
		op.Header = "X-Cache-Bypass: 1"
	case 1:
		op.Header = "X-Cache-Bypass: refresh"
	}
	m.slow(op)
}

// some gives least or one more of the bots, in any order.
func (m *maker) some(least int) []string {
	var ids []string
	for _, bot := range m.Perm(bots)[:least+m.IntN(2)] {
		ids = append(ids, botID(bot))
	}
	return ids
}
