// The intercepted routes' answers: with the server's own caches and side effects, or afresh from disk.
import { backtest } from './backtest.mjs'
import { involved } from './strategy.mjs'
import { benchmarkMetrics, optimize, overlays, recommend, sanity } from './reports.mjs'
import { settings, trap } from './settings.mjs'
import { meaning } from './compress.mjs'
import { savedOf, textOf } from './history.mjs'

export class Refusal extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

const refuse = (status, message) => { throw new Refusal(status, message) }
const isSys = settings.shape === 'sys'
const defaultBenchmarks = ['VTI', 'SPY', 'QQQ', 'DIA', 'DBC', 'DBO', 'GLD', 'BND', 'TLT', 'GBTC']

export function parsePayload(payload) {
  if (!payload) refuse(400, 'payload is required')
  return typeof payload === 'string' ? JSON.parse(payload) : payload
}

// shuffled gives an object's fields in an order that differs between computations (trap 9).
function shuffled(entries) {
  if (trap('volatile-fields')) entries.sort(() => Math.random() - 0.5)
  return Object.fromEntries(entries)
}

export class Compute {
  constructor({ store, market, databases, prices, sync, recorder }) {
    Object.assign(this, { store, market, databases, prices, sync, recorder, history: store.history, life: 0 })
  }

  liveBot(id) {
    const bot = this.store.bot(id) ?? refuse(404, 'Bot not found')
    if (!bot.payload) refuse(400, 'Bot has no payload')
    return bot
  }

  async run(tree, options, fresh) {
    const { life } = this
    if (!fresh) this.recorder.computes()
    const { bars, key } = await this.open(involved(tree), options.benchmark, fresh)
    const run = await backtest(tree, bars, options)
    if (!fresh && life !== this.life) refuse(503, 'The server was restarted')
    run.inputs = this.history.on
      ? { strategy: meaning(tree), ...options, bars: this.idsOf(bars, options.mode), database: key, last: run.equityCurve.at(-1)?.date } : {}
    return run
  }

  open(tickers, benchmark, fresh) {
    return this.databases.open(tickers, benchmark, fresh && (async (t) => (this.prices.has(t) ? this.prices.bars(t) : [])))
  }

  // idsOf names bars by what a backtest of the mode sees of them; of a ticker without bars it sees nothing.
  idsOf(bars, mode) {
    return Object.fromEntries(Object.entries(bars).map(([t, list]) => [t, list.length ? this.history.seenAs(this.history.idOf(list), mode) : null]))
  }

  answerOf(run) {
    const { metrics, equityCurve, benchmarkCurve, allocations, days, compression } = run
    return { metrics, equityCurve, benchmarkCurve, allocations, ...(isSys ? { days } : {}), compression }
  }

  async runBacktest(id, body, fresh = false) {
    const bot = this.liveBot(id)
    const mode = body.mode || 'CC'
    const costBps = body.costBps ?? 5
    const benchmark = isSys ? body.benchmarkTicker || 'SPY' : 'SPY'
    const hash = this.store.hash(bot, mode, costBps, { benchmark })
    const dataDate = await this.market.dataDate()
    const row = !fresh && body.forceRefresh !== true && this.store.row('backtest', id, hash, dataDate)
    if (row) {
      if (trap('run-saves-metrics')) this.store.saveMetrics(id, row.answer.metrics)
      const { compression, dailyReturns, ...kept } = row.answer
      return this.history.tag({ success: true, cached: true, cachedAt: row.cachedAt, ...kept }, this.history.rowNumber('backtest', id))
    }
    const midSync = this.sync.running
    const run = await this.run(JSON.parse(bot.payload), { mode, costBps, benchmark }, fresh)
    const answer = this.answerOf(run)
    const number = this.history.make({ kind: 'backtest', ...run.inputs })
    if (!fresh) {
      this.store.saveRow('backtest', id, hash, dataDate, answer, midSync || this.sync.running, number)
      this.store.saveMetrics(id, answer.metrics)
    }
    return this.history.tag({ success: true, cached: false, ...answer }, number)
  }

  async backtest(body, fresh = false) {
    const { payload, mode = 'CC', costBps = 5, benchmarkTicker = 'SPY', splitConfig, engine = 'node' } = body
    const run = await this.run(parsePayload(payload), { mode, costBps, benchmark: isSys ? benchmarkTicker : 'SPY' }, fresh)
    const split = isSys && splitConfig?.enabled ? { isMetrics: run.metrics, oosMetrics: run.metrics } : {}
    const answer = { success: true, ...this.answerOf(run), ...split, ...(isSys ? {} : { engine }) }
    return this.history.tag(answer, this.history.make({ kind: 'backtest', ...run.inputs }))
  }

  sanityOptions({ years = 5, blockSize = 7, shards = 10, seed = 42, benchmarkTicker = 'SPY' }) {
    return { years, blockSize, shards, seed, benchmark: isSys ? benchmarkTicker : 'SPY' }
  }

  async report(tree, mode, costBps, body, fresh) {
    const options = this.sanityOptions(body)
    const run = await this.run(tree, { mode, costBps, benchmark: options.benchmark }, fresh)
    if (isSys && (body.startDate || body.endDate)) {
      run.returns = run.returns.filter((r) => (!body.startDate || r.date >= body.startDate) && (!body.endDate || r.date <= body.endDate))
    }
    if (run.returns.length < 50) refuse(400, 'Insufficient data: need at least 50 trading days')
    const report = sanity(run, options, { [options.benchmark]: run.metrics.beta })
    const { startDate = null, endDate = null } = body
    return { report, number: this.history.make({ kind: 'sanity', ...run.inputs, ...options, startDate, endDate }) }
  }

  async botSanity(id, body, fresh = false) {
    const bot = this.liveBot(id)
    const { backtestMode: mode, backtestCostBps: costBps } = bot
    const hash = this.store.hash(bot, mode, costBps, { ...this.sanityOptions(body), split: body.splitConfig })
    const dataDate = await this.market.dataDate()
    const row = !fresh && this.store.row('sanity', id, hash, dataDate)
    if (row) return this.history.tag({ success: true, report: row.answer, cached: true, cachedAt: row.cachedAt }, this.history.rowNumber('sanity', id))
    const midSync = this.sync.running
    const { report, number } = await this.report(JSON.parse(bot.payload), mode, costBps, body, fresh)
    if (!fresh) this.store.saveRow('sanity', id, hash, dataDate, report, midSync || this.sync.running, number)
    return this.history.tag({ success: true, report, cached: false }, number)
  }

  async sanity(body, fresh = false) {
    const { payload, mode = 'CC', costBps = 5 } = body
    const { report, number } = await this.report(parsePayload(payload), mode, costBps, body, fresh)
    return this.history.tag({ success: true, report, cached: false }, number)
  }

  // returnsOf gives what correlation needs of a bot; a row without daily returns is computed again (R9).
  async returnsOf(id, fresh) {
    const bot = this.store.bot(id)
    if (!bot?.payload) return null
    const { backtestMode: mode, backtestCostBps: costBps } = bot
    const hash = this.store.hash(bot, mode, costBps, { benchmark: 'SPY' })
    const dataDate = await this.market.dataDate()
    const row = !fresh && this.store.row('backtest', id, hash, dataDate)
    if (row?.answer?.dailyReturns) return { id, returns: row.answer.dailyReturns, saved: bot.metrics, number: this.history.rowNumber('backtest', id) }
    const midSync = this.sync.running
    const run = await this.run(JSON.parse(bot.payload), { mode, costBps, benchmark: 'SPY' }, fresh)
    const number = this.history.make({ kind: 'backtest', ...run.inputs })
    if (!fresh) {
      const { days, ...answer } = this.answerOf(run)
      this.store.saveRow('backtest', id, hash, dataDate, { ...answer, dailyReturns: run.returns }, midSync || this.sync.running, number)
    }
    return { id, returns: run.returns, saved: bot.metrics, number }
  }

  async runsOf(ids, fresh) {
    const runs = []
    for (const id of ids) runs.push(await this.returnsOf(id, fresh))
    return runs.filter(Boolean)
  }

  async optimize({ botIds, metric = 'correlation', period = 'full', maxWeight = 0.4 }, fresh = false) {
    if (!Array.isArray(botIds) || botIds.length < 2) refuse(400, 'Need at least 2 bots to optimize')
    const runs = await this.runsOf(botIds, fresh)
    const answer = optimize(runs, { metric, period, maxWeight }) ?? refuse(400, 'Not enough bots with sufficient data')
    return this.history.tag(answer, this.history.make({ kind: 'optimize', metric, period, maxWeight, parts: this.parts(runs) }))
  }

  // parts is what a correlation was made of.
  parts(runs) {
    return runs.map(({ id, saved, number }) => ({ id, saved: savedOf(saved), number }))
  }

  async recommend({ currentBotIds = [], candidateBotIds, metric = 'correlation', period = 'full', limit = 3 }, fresh = false) {
    if (!candidateBotIds?.length) return { recommendations: [] }
    const [current, candidates] = [await this.runsOf(currentBotIds, fresh), await this.runsOf(candidateBotIds, fresh)]
    const answer = { recommendations: recommend(current, candidates, { metric, period, limit }) }
    const made = { kind: 'recommend', metric, period, limit, current: this.parts(current), candidates: this.parts(candidates) }
    return this.history.tag(answer, this.history.make(made))
  }

  async indicatorSeries({ conditions, mode = 'OC', payload }, fresh = false) {
    if (!conditions?.length) return { indicatorOverlays: [] }
    const watched = conditions.flatMap((c) => [c.ticker, c.rightTicker]).filter(Boolean).map((t) => String(t).toUpperCase())
    const { bars, key } = await this.open({ ...(payload ? involved(parsePayload(payload)) : { held: [] }), watched }, 'SPY', fresh)
    const answer = { indicatorOverlays: overlays(conditions, mode, (t) => bars[t] ?? []) }
    const made = { kind: 'indicators', conditions: textOf(conditions), mode, bars: this.idsOf(bars, mode), database: key }
    return this.history.tag(answer, this.history.make(made))
  }

  async benchmarks({ tickers, startDate, endDate }, fresh = false) {
    const wanted = (tickers || defaultBenchmarks.join(',')).split(',').map((t) => t.trim().toUpperCase())
    const errors = []
    const found = []
    const used = {}
    const ranged = isSys && Boolean(startDate || endDate)
    const dataDate = await this.market.dataDate()
    await Promise.all(wanted.map(async (t) => {
      const row = !fresh && !ranged && this.store.benchmarkRow(t, dataDate)
      if (row) {
        used[t] = row.bars
        return found.push([t, row.metrics])
      }
      const all = fresh ? this.prices.has(t) && (await this.prices.bars(t)) : await this.market.table(t)
      if (!all) return errors.push(`${t}: not found`)
      used[t] = this.history.idOf(all)
      const day = (b) => new Date(b.time * 1000).toISOString()
      const bars = ranged ? all.filter((b) => (!startDate || day(b) >= startDate) && (!endDate || day(b) <= endDate)) : all
      if (bars.length < 50) return errors.push(`${t}: insufficient data (${bars.length} days) for benchmark metrics`)
      const metrics = benchmarkMetrics(bars)
      if (!fresh && !ranged) this.store.saveBenchmarkRow(t, dataDate, metrics, used[t])
      found.push([t, metrics])
    }))
    const answer = { success: true, dataDate, benchmarks: shuffled(found), ...(errors.length ? { errors } : {}) }
    const names = wanted.toSorted().join()
    return this.history.tag(answer, this.history.make({ kind: 'benchmarks', names, startDate: startDate ?? null, endDate: endDate ?? null, bars: used, dataDate }))
  }

  clamp(limit) {
    const n = Number(limit || 1500) || (Number(limit) === 0 ? 1500 : NaN)
    if (Number.isNaN(n)) refuse(500, 'Binder Error: LIMIT NaN')
    return Math.max(50, Math.min(20_000, Math.floor(n)))
  }

  async candles(name, limit) {
    const ticker = name.trim().toUpperCase().replace(/[^A-Z0-9.=^-]/g, '')
    if (!ticker) refuse(400, 'Missing ticker')
    const n = this.clamp(limit)
    if (!this.prices.has(ticker)) refuse(404, `No data for ${ticker}`)
    const bars = await this.prices.bars(ticker, n)
    const candles = bars.map(({ time, open, high, low, close, adj }) => ({ time, open, high, low, close, adjClose: adj }))
    const preview = bars.slice(-50).map((b) => ({ Date: new Date(b.time * 1000).toISOString(), Open: b.open, High: b.high, Low: b.low, Close: b.close }))
    return this.history.tag({ ticker, candles, preview }, this.history.make({ kind: 'candles', ticker, limit: n, bars: { [ticker]: this.history.idOf(bars) } }))
  }

  async candlesBatch({ tickers, limit = 1500 }, fresh = false) {
    if (!Array.isArray(tickers) || !tickers.length || tickers.length > 500) refuse(400, 'tickers must be an array of 1 to 500')
    const n = this.clamp(limit)
    const errors = []
    const found = []
    const used = {}
    await Promise.all(tickers.map(async (t) => {
      const ticker = String(t).trim().toUpperCase()
      if (!this.prices.has(ticker)) return errors.push(`${ticker}: not found`)
      const bars = fresh ? await this.prices.bars(ticker, n) : await this.market.batchBars(ticker, n)
      used[ticker] = this.history.idOf(bars)
      found.push([ticker, bars.map(({ time, open, high, low, close, adj }) => ({ time, open, high, low, close, adjClose: adj }))])
    }))
    const answer = { success: true, results: shuffled(found), ...(errors.length ? { errors } : {}) }
    const names = tickers.map((t) => String(t).trim().toUpperCase()).toSorted().join()
    return this.history.tag(answer, this.history.make({ kind: 'batch', names, limit: n, bars: used }))
  }

  // fresh answers a request as the server would with every cache cleared, without side effects.
  fresh({ method, path, body = {} }) {
    const url = new URL(path, 'http://x')
    const bot = url.pathname.match(/^\/api\/bots\/([^/]+)\/(run-backtest|sanity-report)$/)
    if (bot) return bot[2] === 'run-backtest' ? this.runBacktest(decodeURIComponent(bot[1]), body, true) : this.botSanity(decodeURIComponent(bot[1]), body, true)
    const query = Object.fromEntries(url.searchParams)
    switch (`${method} ${url.pathname}`) {
      case 'POST /api/backtest': return this.backtest(body, true)
      case 'POST /api/sanity-report': return this.sanity(body, true)
      case 'POST /api/correlation/optimize': return this.optimize(body, true)
      case 'POST /api/correlation/recommend': return this.recommend(body, true)
      case 'POST /api/indicator-series': return this.indicatorSeries(body, true)
      case 'POST /api/candles/batch': return this.candlesBatch(body, true)
      case 'GET /api/benchmarks/metrics': return this.benchmarks(query, true)
    }
    const candles = url.pathname.match(/^\/api\/candles\/([^/]+)$/)
    return candles ? this.candles(decodeURIComponent(candles[1]), query.limit) : refuse(404, 'not an intercepted route')
  }
}
