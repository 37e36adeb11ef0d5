// Bots, results and market data: the routes that are intercepted, and those that change their answers.
import crypto from 'node:crypto'
import { authenticate, requireAdmin } from './auth.mjs'
import { settings, trap } from './settings.mjs'
import { rawMetrics } from './store.mjs'

const isSys = settings.shape === 'sys'
const html400 = (message) => Object.assign(new Error(message), { status: 400 }) // Express answers it in HTML

// run answers with what work gives, or the server's error body.
const running = (history) => (work) => async (req, res) => {
  try {
    const answer = await work(req)
    const text = JSON.stringify(answer)
    history.gave(text, answer)
    res.set('Content-Type', 'application/json').send(text) // as res.json does
  } catch (e) {
    res.status(e.status ?? 500).json({ error: e.message })
  }
}

export function computeRoutes(app, compute, access) {
  const run = running(compute.history)
  const [guard, prices] = [access.guard(), access.pricesGuard()]
  app.post('/api/bots/:id/run-backtest', guard, run((req) => compute.runBacktest(req.params.id, req.body ?? {})))
  app.post('/api/bots/:id/sanity-report', guard, run((req) => compute.botSanity(req.params.id, req.body ?? {})))
  app.post('/api/backtest', guard, run((req) => compute.backtest(req.body ?? {})))
  app.post('/api/sanity-report', guard, run((req) => compute.sanity(req.body ?? {})))
  app.post('/api/correlation/optimize', guard, run((req) => compute.optimize(req.body ?? {})))
  app.post('/api/correlation/recommend', guard, run((req) => compute.recommend(req.body ?? {})))
  app.post('/api/indicator-series', guard, run((req) => compute.indicatorSeries(req.body ?? {})))
  app.get('/api/benchmarks/metrics', prices, run((req) => compute.benchmarks(req.query)))
  app.post('/api/candles/batch', prices, run((req) => compute.candlesBatch(req.body ?? {})))
  app.get('/api/candles/:ticker', prices, run((req) => compute.candles(req.params.ticker, req.query.limit)))
}

const shown = ({ deletedAt, ...bot }) => ({ ...bot, metrics: rawMetrics(bot.metrics) })

export function botRoutes(app, store, access) {
  const guard = access.guard()
  const list = (bots) => bots.filter((b) => !b.deletedAt)
  const nexus = () => list(store.bots("visibility = 'nexus'")).map(({ payload, deletedAt, ...b }) => b)
  const top = (metric) => (req, res) => res.json({
    bots: nexus().sort((a, b) => (b.metrics?.[metric] ?? -1e9) - (a.metrics?.[metric] ?? -1e9)).slice(0, Number(req.query.limit) || 10),
  })
  app.get('/api/nexus/bots', (_, res) => res.json({ bots: nexus() }))
  app.get('/api/nexus/top/cagr', top('cagr'))
  app.get('/api/nexus/top/calmar', top('calmarRatio'))
  app.get('/api/nexus/top/sharpe', top('sharpeRatio'))
  app.get('/api/bots', guard, (req, res) => res.json({ bots: list(store.bots('ownerId = ?', String(req.query.userId ?? ''))).map(shown) }))
  app.get('/api/bots/:id', guard, (req, res) => {
    const bot = store.bot(req.params.id)
    if (!bot) return res.status(404).json({ error: 'Bot not found' })
    const { payload, ...hidden } = shown(bot)
    res.json({ bot: bot.visibility === 'nexus' && req.query.userId !== bot.ownerId ? hidden : { ...hidden, payload } })
  })
  // known refuses what the newer router's schema refuses, with Express's HTML page.
  const known = (req, _res, next) => {
    const b = req.body ?? {}
    if (isSys && b.visibility !== undefined && !['private', 'nexus'].includes(b.visibility)) return next(html400('Invalid visibility'))
    if (isSys && b.payload !== undefined && typeof b.payload !== 'string') return next(html400('payload must be a string'))
    next()
  }
  const stripped = ({ backtestMode, backtestCostBps, ...rest }) => (isSys ? rest : { ...rest, backtestMode, backtestCostBps })
  const mine = (req, res, id = req.params.id) => {
    const bot = store.bot(id, true)
    if (!bot) res.status(404).json({ error: 'Bot not found' })
    else if ((req.body?.ownerId ?? req.query.ownerId) !== bot.ownerId) res.status(403).json({ error: 'Not the owner' })
    else return bot
  }
  app.post('/api/bots', guard, known, (req, res) => {
    if (!req.body.ownerId || !req.body.name) return res.status(400).json({ error: 'ownerId and name are required' })
    res.status(201).json({ bot: shown(store.insert({ ...stripped(req.body), id: req.body.id || `bot-${crypto.randomUUID()}` })) })
  })
  app.put('/api/bots/:id', guard, known, (req, res) => {
    if (mine(req, res)) res.json({ success: true, bot: shown(store.update(req.params.id, stripped({ ...req.body, ownerId: undefined })) ?? {}) })
  })
  app.delete('/api/bots/:id', guard, (req, res) => {
    if (!mine(req, res)) return
    if (req.query.hardDelete === 'true') store.remove(req.params.id)
    else store.setDeleted(req.params.id, true)
    res.json({ success: true })
  })
  app.delete('/api/bots/:id/permanent', guard, (req, res) => { if (mine(req, res)) { store.remove(req.params.id); res.json({ success: true }) } })
  app.post('/api/bots/:id/restore', guard, (req, res) => { if (mine(req, res)) { store.setDeleted(req.params.id, false); res.json({ success: true }) } })
  app.get('/api/bots/:id/metrics', guard, (req, res) => {
    const bot = store.bot(req.params.id)
    return bot ? res.json({ botId: bot.id, ...(isSys ? { name: bot.name } : {}), metrics: rawMetrics(bot.metrics) }) : res.status(404).json({ error: 'Bot not found' })
  })
  app.put('/api/bots/:id/metrics', guard, (req, res, next) => {
    const metrics = req.body?.metrics ?? req.body ?? {}
    if (isSys && Object.values(metrics).includes(null)) return next(html400('Expected number, received null'))
    if (!store.bot(req.params.id, true)) return res.status(500).json({ error: 'FOREIGN KEY constraint failed' })
    store.saveMetrics(req.params.id, metrics)
    res.json({ success: true })
  })
  app.get('/api/waitlist/stats', (_, res) => { if (trap('hidden-deletes')) store.cleanUp(); res.json({ total: 0, position: null }) })
  app.post('/api/waitlist/join', (_, res) => { if (trap('hidden-deletes')) store.cleanUp(); res.status(201).json({ success: true }) })
  app.post('/api/migrate/user-data', (req, res) => {
    for (const b of req.body.bots ?? []) store.insert(b)
    res.json({ success: true })
  })
}

export function adminRoutes(app, { store, market, sync, prices, compute }) {
  const admin = [authenticate, requireAdmin]
  app.get('/api/admin/sync-schedule', admin, (_, res) => res.json({ config: sync.config, lastSync: sync.lastSync, status: sync.status() }))
  app.put('/api/admin/sync-schedule', admin, (req, res) => { Object.assign(sync.config, req.body); res.json({ success: true, config: sync.config }) })
  app.post('/api/admin/sync-schedule/run-now', admin, (req, res) =>
    res.json(sync.start({ source: req.body?.source ?? 'tiingo', announced: true }) ? { success: true } : { success: false, error: 'A sync is already running' }))
  app.post('/api/admin/sync-schedule/kill', admin, (_, res) => res.json({ success: sync.kill() }))
  app.post('/api/admin/cache/invalidate', admin, (req, res) => {
    if (!req.body?.botId) market.clear()
    res.json({ success: true, cleared: store.clearRows(req.body?.botId) })
  })
  app.post('/api/admin/cache/refresh', admin, (_, res) => res.json({ success: true, cleared: store.clearRows() }))
  if (!isSys) app.post('/api/admin/cache/ticker-clear', admin, (_, res) => { market.clear(); res.json({ success: true }) })
  app.get('/api/admin/cache/stats', admin, async (_, res) => {
    const { o, n, ...stats } = store.rowStats()
    const iso = (t) => (t ? new Date(t).toISOString() : null)
    res.json({ ...stats, oldestEntry: iso(o), newestEntry: iso(n), lastRefreshDate: null, currentDataDate: await market.dataDate() })
  })
  app.post('/api/admin/cache/prewarm', admin, async (_, res) => {
    let done = 0
    for (const b of store.bots('deletedAt IS NULL')) {
      await compute.runBacktest(b.id, { mode: b.backtestMode, costBps: b.backtestCostBps }).then(() => done++, () => {})
    }
    res.json({ success: true, done })
  })
  app.get('/api/admin/systems/user', admin, (_, res) => res.json({
    systems: store.bots().map((b) => ({ id: b.id, owner_id: b.ownerId, name: b.name, visibility: b.visibility, deleted_at: b.deletedAt })),
  }))
  const download = (req, res) => {
    const id = sync.download({ mode: req.body?.mode === 'full' ? 'restate' : 'append', announced: true })
    return id ? res.json({ success: true, jobId: id }) : res.status(409).json({ error: 'A sync is already running' })
  }
  app.post('/api/download', download)
  app.post('/api/tickers/registry/download', download)
  app.post('/api/tickers/download-specific', download)
  app.get('/api/download/:jobId', (req, res) => {
    const job = sync.jobs.get(req.params.jobId)
    return job ? res.json(job) : res.status(404).json({ error: 'Job not found' })
  })
  app.delete('/api/download/:jobId', (_, res) => res.json({ success: sync.kill() }))
  app.get('/api/tickers/registry/stats', (_, res) => res.json(sync.stats()))
  app.get(['/api/tickers', '/api/tickers/raw', '/api/parquet-tickers'], (_, res) => res.json({ tickers: prices.list() }))
}
