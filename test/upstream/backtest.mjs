// A backtest: a bot's tree walked day by day over real bars.
import { performance } from 'node:perf_hooks'
import { compressed } from './compress.mjs'
import { allocate } from './strategy.mjs'
import { settings, trap } from './settings.mjs'

const start = Date.UTC(1993, 0, 1) / 1000
const warmUp = 50
export const dateOf = (time) => new Date(time * 1000).toISOString().slice(0, 10)
const mean = (xs) => (xs.length ? xs.reduce((a, b) => a + b, 0) / xs.length : 0)

// Market is the bars of a strategy's tickers on the days that all of them have.
class Market {
  constructor(barsOf, mode) {
    const lists = Object.values(barsOf).map((bars) => new Set(bars.map((b) => b.time)))
    this.times = lists.length ? [...lists[0]].filter((t) => t >= start && lists.every((l) => l.has(t))).sort((a, b) => a - b) : []
    this.bars = {}
    const days = new Set(this.times)
    for (const [ticker, bars] of Object.entries(barsOf)) this.bars[ticker] = bars.filter((b) => days.has(b.time))
    this.mode = mode
    this.idsMatter = settings.idsMatter
    this.closes = {}
    this.states = {} // of alt exits, by their ids
  }

  history(ticker) {
    const t = String(ticker).toUpperCase()
    return (this.closes[t] ??= Float64Array.from(this.bars[t] ?? [], (b) => (this.mode === 'CC' ? b.adj || b.close : b.close)))
  }

  // earned is the return of a ticker on the way into day i.
  earned(ticker, i) {
    const [b, p] = [this.bars[ticker]?.[i], this.bars[ticker]?.[i - 1]]
    if (!b || !p) return 0
    switch (this.mode) {
      case 'OO': return b.open / p.open - 1
      case 'OC': return b.close / b.open - 1
      case 'CO': return b.open / p.close - 1
      default: return (b.adj || b.close) / (p.adj || p.close) - 1
    }
  }
}

function countNodes(x) {
  if (Array.isArray(x)) return x.reduce((n, y) => n + countNodes(y), 0)
  if (!x || typeof x !== 'object') return 0
  return (x.kind ? 1 : 0) + Object.values(x).reduce((n, y) => n + countNodes(y), 0)
}

// backtest walks a tree over a database of bars, by ticker: one without bars is as if it were not named.
export async function backtest(saved, bars, { mode = 'CC', costBps = 5, benchmark = 'SPY' }) {
  const began = performance.now()
  const { tree, merged } = compressed(saved)
  const market = new Market(Object.fromEntries(Object.entries(bars).filter(([, list]) => list.length)), mode)
  if (market.times.length <= warmUp) throw new Error('Not enough overlapping price data')
  const equityCurve = []
  const benchmarkCurve = []
  const allocations = []
  const days = []
  const returns = []
  let [equity, bench, held, turnovers] = [1, 1, {}, []]
  for (let i = warmUp; i < market.times.length; i++) {
    const date = dateOf(market.times[i])
    const gross = Object.entries(held).reduce((sum, [t, w]) => sum + w * market.earned(t, i), 0)
    const benchmarkReturn = i > warmUp ? market.earned(benchmark, i) : 0
    const decideOn = mode === 'OO' || mode === 'OC' ? i - 1 : i // at the open only yesterday is known
    const next = allocate(tree, decideOn, market)
    const turnover = [...new Set([...Object.keys(held), ...Object.keys(next)])].reduce((sum, t) => sum + Math.abs((next[t] ?? 0) - (held[t] ?? 0)), 0) / 2
    const cost = (costBps / 10_000) * turnover
    const net = gross - cost
    equity *= 1 + net
    bench *= 1 + benchmarkReturn
    turnovers.push(turnover)
    returns.push({ date, net, bench: benchmarkReturn })
    equityCurve.push({ date, equity })
    benchmarkCurve.push({ date, equity: bench })
    const entries = Object.entries(next).map(([ticker, weight]) => ({ ticker, weight }))
    allocations.push(settings.shape === 'app' ? { date, alloc: next } : { date, entries })
    days.push({ time: market.times[i], date, equity, holdings: entries, benchmark: bench, drawdown: 0, grossReturn: gross, netReturn: net, turnover, cost })
    held = next
    if (i % 500 === 0) await new Promise(setImmediate) // as the server: it does not let others in for long
  }
  const [nodes, left] = [countNodes(saved), countNodes(tree)]
  const holdings = allocations.map((a) => Object.keys(a.alloc ?? a.entries).length)
  return {
    metrics: metricsOf(returns, equityCurve, { avgTurnover: mean(turnovers), avgHoldings: mean(holdings) }),
    equityCurve, benchmarkCurve, allocations, days, returns,
    compression: {
      originalNodes: nodes, compressedNodes: left, nodesRemoved: nodes - left, gatesMerged: merged,
      compressionTimeMs: trap('volatile-fields') ? performance.now() - began : 0,
    },
  }
}

export function metricsOf(returns, curve, extra = {}) {
  const xs = returns.map((r) => r.net)
  const bs = returns.map((r) => r.bench)
  const [m, mb] = [mean(xs), mean(bs)]
  const sd = Math.sqrt(xs.reduce((s, x) => s + (x - m) ** 2, 0) / Math.max(1, xs.length - 1))
  const down = xs.filter((x) => x < 0)
  const downside = Math.sqrt(mean(down.map((x) => x * x)))
  const cov = xs.reduce((s, x, i) => s + (x - m) * (bs[i] - mb), 0)
  const varB = bs.reduce((s, b) => s + (b - mb) ** 2, 0)
  let [peak, drawdown] = [0, 0]
  for (const { equity } of curve) {
    peak = Math.max(peak, equity)
    drawdown = Math.max(drawdown, 1 - equity / peak)
  }
  const cagr = curve.length ? curve.at(-1).equity ** (252 / curve.length) - 1 : 0
  const beta = varB ? cov / varB : 0
  return {
    cagr, maxDrawdown: drawdown, calmarRatio: drawdown ? cagr / drawdown : 0, sharpeRatio: sd ? (m / sd) * Math.sqrt(252) : 0,
    sortinoRatio: downside ? (m / downside) * Math.sqrt(252) : 0, treynorRatio: beta ? (m * 252) / beta : 0, beta,
    volatility: sd * Math.sqrt(252), winRate: xs.length ? xs.filter((x) => x > 0).length / xs.length : 0,
    avgTurnover: extra.avgTurnover ?? 0, avgHoldings: extra.avgHoldings ?? 0,
    bestDay: xs.length ? Math.max(...xs) : 0, worstDay: xs.length ? Math.min(...xs) : 0, tradingDays: curve.length,
  }
}
