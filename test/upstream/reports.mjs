// Sanity reports, benchmark metrics, correlations and indicator overlays: what is computed from backtests.
import { indicator } from './indicators.mjs'
import { dateOf, metricsOf } from './backtest.mjs'
import { mulberry32 } from './prices.mjs'
import { settings, trap } from './settings.mjs'

const mean = (xs) => (xs.length ? xs.reduce((a, b) => a + b, 0) / xs.length : 0)
const quantile = (xs, q) => [...xs].sort((a, b) => a - b)[Math.floor(q * (xs.length - 1))] ?? 0

function curveOf(returns) {
  let equity = 1
  return returns.map((r) => ({ equity: (equity *= 1 + r.net) }))
}

// sanity resamples a backtest's returns in blocks, 200 times, with a seeded generator.
export function sanity(run, { years, blockSize, shards, seed }, betas) {
  const random = mulberry32(Number(seed))
  const wanted = Math.min(Math.floor(252 * Number(years)), 252 * 20)
  const size = Math.max(1, Math.floor(Number(blockSize)))
  const paths = Array.from({ length: 200 }, () => {
    const path = []
    while (path.length < wanted) {
      const from = Math.floor(random() * run.returns.length)
      path.push(...run.returns.slice(from, from + size))
    }
    return metricsOf(path, curveOf(path))
  })
  const fold = Math.max(1, Math.floor(run.returns.length / Math.max(1, Number(shards))))
  const kfold = Array.from({ length: Math.max(1, Number(shards)) }, (_, i) => {
    const part = run.returns.slice(i * fold, (i + 1) * fold)
    return metricsOf(part, curveOf(part)).cagr
  })
  const distribution = (xs) => ({ p5: quantile(xs, 0.05), p50: quantile(xs, 0.5), p95: quantile(xs, 0.95) })
  return {
    original: { cagr: run.metrics.cagr, maxDD: run.metrics.maxDrawdown, tradingDays: run.metrics.tradingDays },
    pathRisk: {
      monteCarlo: { cagr: distribution(paths.map((p) => p.cagr)), maxDD: distribution(paths.map((p) => p.maxDrawdown)) },
      kfold, drawdownProbabilities: [0.1, 0.2, 0.3].map((d) => ({ drawdown: d, probability: mean(paths.map((p) => Number(p.maxDrawdown > d))) })),
      comparisonMetrics: { sharpe: distribution(paths.map((p) => p.sharpeRatio)) },
    },
    fragility: { turnover: run.metrics.avgTurnover, concentration: run.metrics.avgHoldings, profit: run.metrics.winRate, tail: run.metrics.worstDay },
    summary: [`CAGR ${(run.metrics.cagr * 100).toFixed(2)} %`],
    meta: {
      mcSimulations: 200, kfFolds: 200, years, blockSize, shards, seed,
      generatedAt: trap('volatile-fields') ? new Date().toISOString() : '2026-01-01T00:00:00.000Z',
    },
    strategyBetas: betas,
    ...(settings.shape === 'sys' ? { benchmarkMetrics: metricsOf(run.returns.map((r) => ({ ...r, net: r.bench })), run.benchmarkCurve) } : {}),
  }
}

export function benchmarkMetrics(bars) {
  const returns = bars.slice(1).map((b, i) => ({ net: b.adj / bars[i].adj - 1, bench: b.adj / bars[i].adj - 1 }))
  const m = metricsOf(returns, curveOf(returns))
  return {
    cagr50: m.cagr, maxdd50: m.maxDrawdown, maxdd95: m.maxDrawdown, calmar50: m.calmarRatio, calmar95: m.calmarRatio, sharpe: m.sharpeRatio,
    sortino: m.sortinoRatio, volatility: m.volatility, winRate: m.winRate, beta: m.beta, treynor: m.treynorRatio, tradingDays: m.tradingDays,
  }
}

function pearson(a, b) {
  const [ma, mb] = [mean(a), mean(b)]
  let [ab, aa, bb] = [0, 0, 0]
  a.forEach((x, i) => {
    ab += (x - ma) * (b[i] - mb)
    aa += (x - ma) ** 2
    bb += (b[i] - mb) ** 2
  })
  return aa && bb ? ab / Math.sqrt(aa * bb) : 0
}

// since gives the returns of a period that ends today (UTC), aligned from the end.
function since(returns, period) {
  const years = { '1y': 1, '3y': 3, '5y': 5 }[period]
  if (!years) return returns
  const from = new Date()
  from.setUTCFullYear(from.getUTCFullYear() - years)
  return returns.filter((r) => r.date >= from.toISOString().slice(0, 10))
}

export function optimize(runs, { metric, period, maxWeight }) {
  const valid = runs.map((r) => ({ ...r, xs: since(r.returns, period).map((x) => x.net) })).filter((r) => r.xs.length >= 50)
  if (valid.length < 2) return null
  const n = Math.min(...valid.map((r) => r.xs.length))
  for (const r of valid) r.xs = r.xs.slice(-n)
  const matrix = valid.map((a) => valid.map((b) => (a === b ? 1 : pearson(a.xs, b.xs))))
  const scores = valid.map((r, i) => {
    switch (metric) {
      case 'volatility': return 1 / (r.saved?.volatility || 0.1)
      case 'sharpe': return Math.max(0.01, r.saved?.sharpeRatio ?? 1)
      case 'beta': return 1 / Math.max(0.1, Math.abs(r.saved?.beta ?? 1))
      default: return 1 - mean(matrix[i]) + 0.01
    }
  })
  const cap = Math.min(1, Math.max(0.1, Number(maxWeight)))
  const total = scores.reduce((a, b) => a + b, 0)
  let weights = scores.map((s) => Math.min(cap, s / total))
  weights = weights.map((w) => w / weights.reduce((a, b) => a + b, 0))
  const mixed = valid[0].xs.map((_, i) => ({ net: valid.reduce((s, r, k) => s + r.xs[i] * weights[k], 0), bench: 0 }))
  const m = metricsOf(mixed, curveOf(mixed))
  return {
    validBotIds: valid.map((r) => r.id), weights, correlationMatrix: matrix,
    portfolioMetrics: { cagr: mean(mixed.map((x) => x.net)) * 252, volatility: m.volatility, sharpe: m.sharpeRatio, maxDrawdown: m.maxDrawdown, beta: 1 },
  }
}

export function recommend(current, candidates, { period, limit }) {
  const xs = (r) => since(r.returns, period).map((x) => x.net)
  const scored = candidates.map((c) => {
    const cs = xs(c)
    const correlation = current.length ? mean(current.map((o) => {
      const os = xs(o)
      const n = Math.min(os.length, cs.length)
      return pearson(os.slice(-n), cs.slice(-n))
    })) : 0
    return { botId: c.id, score: 1 - correlation, correlation, metrics: { cagr: c.saved?.cagr ?? 0, sharpe: c.saved?.sharpeRatio ?? 0 } }
  })
  return scored.sort((a, b) => b.score - a.score).slice(0, Number(limit))
}

const colors = ['#2563eb', '#dc2626', '#059669', '#d97706']

export function overlays(conditions, mode, barsOf) {
  const out = []
  for (const [i, c] of conditions.entries()) {
    const series = (ticker, metric, window) => {
      const bars = barsOf(String(ticker).toUpperCase())
      const values = Float64Array.from(bars, (b) => (mode === 'CC' ? b.adj || b.close : b.close))
      return bars.slice(-500).map((b, k) => ({ date: dateOf(b.time), value: indicator(metric, values, values.length - Math.min(500, values.length) + k, window) }))
    }
    out.push({
      conditionId: c.id, label: `${c.window ?? ''} ${c.metric} of ${c.ticker}`.trim(), leftSeries: series(c.ticker, c.metric, c.window),
      rightSeries: c.expanded && c.rightTicker ? series(c.rightTicker, c.rightMetric, c.rightWindow) : null,
      rightLabel: c.expanded && c.rightTicker ? `${c.rightWindow ?? ''} ${c.rightMetric} of ${c.rightTicker}`.trim() : null,
      threshold: c.threshold ?? null, comparator: c.comparator, color: colors[i % colors.length],
    })
  }
  return out
}
