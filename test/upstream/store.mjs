// SQLite as the server has it: users' bots with their saved metrics, and a result cache of one row a bot.
import crypto from 'node:crypto'
import Database from 'better-sqlite3'
import { bots as seedBots } from './seed.mjs'
import { settings, trap } from './settings.mjs'

const columns = ['ownerId', 'name', 'visibility', 'tags', 'fundSlot', 'backtestMode', 'backtestCostBps', 'payload', 'isDraft']

// The columns of a bot's saved metrics: what else is put there is ignored (trap 23).
const saved = {
  cagr: 'cagr', maxDrawdown: 'max_drawdown', calmarRatio: 'calmar_ratio', sharpeRatio: 'sharpe_ratio', sortinoRatio: 'sortino_ratio',
  treynorRatio: 'treynor_ratio', volatility: 'volatility', winRate: 'win_rate', avgTurnover: 'avg_turnover', avgHoldings: 'avg_holdings',
  tradingDays: 'trading_days',
}

// rawMetrics is the row as the server shows it.
export function rawMetrics(metrics) {
  if (!metrics || !trap('raw-metrics')) return metrics
  const { lastBacktestAt, updatedAt } = metrics
  const columns = Object.entries(saved).map(([name, column]) => [column, metrics[name] ?? null])
  return { ...Object.fromEntries(columns), last_backtest_at: lastBacktestAt, updated_at: updatedAt }
}

const second = (ms) => (trap('coarse-updated-at') ? Math.floor(ms / 1000) * 1000 : ms)

export class Store {
  constructor(file, history) {
    this.history = history
    this.db = new Database(file)
    this.db.pragma('journal_mode = WAL')
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS bots (id TEXT PRIMARY KEY, ownerId TEXT, name TEXT, visibility TEXT, tags TEXT, fundSlot TEXT,
        backtestMode TEXT, backtestCostBps REAL, payload TEXT, isDraft INTEGER, createdAt INTEGER, updatedAt INTEGER, deletedAt INTEGER);
      CREATE TABLE IF NOT EXISTS bot_metrics (botId TEXT PRIMARY KEY, metrics TEXT, lastBacktestAt INTEGER, updatedAt INTEGER);
      CREATE TABLE IF NOT EXISTS results (kind TEXT, botId TEXT, variant TEXT, hash TEXT, dataDate TEXT, answer TEXT, cachedAt INTEGER, midSync INTEGER,
        PRIMARY KEY (kind, botId, variant));
      CREATE TABLE IF NOT EXISTS benchmark_rows (ticker TEXT PRIMARY KEY, dataDate TEXT, metrics TEXT, bars TEXT);`)
    this.log = [] // versioned: what answers depended on, for an oracle
    this.reset()
  }

  reset() {
    this.db.exec('DELETE FROM bots; DELETE FROM bot_metrics; DELETE FROM results; DELETE FROM benchmark_rows;')
    this.history.clear()
    if (settings.seedBots) for (const b of seedBots()) this.insert(b)
    this.note('reset')
  }

  note(what, detail = {}) {
    if (what === 'bot') this.history.bot(detail.bot, this.bot(detail.bot, true))
    this.log.push({ version: this.log.length + 1, at: Date.now(), what, ...detail })
    if (this.log.length > 20_000) this.log.splice(0, 10_000)
  }

  insert(b) {
    const now = second(Date.now())
    this.db.prepare(`INSERT OR REPLACE INTO bots VALUES (?,?,?,?,?,?,?,?,?,?,?,?,NULL)`).run(b.id, b.ownerId, b.name, b.visibility ?? 'private',
      JSON.stringify(b.tags ?? []), b.fundSlot ?? null, b.backtestMode ?? 'CC', b.backtestCostBps ?? 5, b.payload ?? null, b.isDraft ? 1 : 0, now, now)
    this.note('bot', { bot: b.id })
    return this.bot(b.id)
  }

  bot(id, deleted = false) {
    const row = this.db.prepare('SELECT * FROM bots WHERE id = ?').get(id)
    if (!row || (row.deletedAt && !deleted)) return null
    return { ...row, tags: JSON.parse(row.tags), isDraft: Boolean(row.isDraft), metrics: this.metrics(id) }
  }

  bots(where = '1', ...args) {
    return this.db.prepare(`SELECT id FROM bots WHERE ${where}`).all(...args).map(({ id }) => this.bot(id, true))
  }

  update(id, change) {
    for (const name of columns) {
      if (change[name] === undefined) continue
      const v = name === 'tags' ? JSON.stringify(change.tags) : name === 'isDraft' ? Number(change.isDraft) : change[name]
      this.db.prepare(`UPDATE bots SET ${name} = ? WHERE id = ?`).run(v, id)
    }
    this.touch(id)
    return this.bot(id)
  }

  touch(id) {
    const next = trap('coarse-updated-at') ? 'max(?, updatedAt)' : 'max(?, updatedAt + 1)'
    this.db.prepare(`UPDATE bots SET updatedAt = ${next} WHERE id = ?`).run(second(Date.now()), id)
    this.note('bot', { bot: id })
  }

  setDeleted(id, deleted) {
    this.db.prepare('UPDATE bots SET deletedAt = ? WHERE id = ?').run(deleted ? Date.now() : null, id)
    this.touch(id)
  }

  remove(id) {
    this.db.prepare('DELETE FROM bots WHERE id = ?').run(id)
    this.note('bot', { bot: id })
  }

  // cleanUp removes what the waiting list's routes do behind everybody's back (trap 24).
  cleanUp() {
    for (const { id } of this.db.prepare("SELECT id FROM bots WHERE visibility = 'private' AND tags = '[]'").all()) this.remove(id)
  }

  metrics(id) {
    const row = this.db.prepare('SELECT * FROM bot_metrics WHERE botId = ?').get(id)
    return row ? { ...JSON.parse(row.metrics), lastBacktestAt: row.lastBacktestAt, updatedAt: row.updatedAt } : null
  }

  saveMetrics(id, all) {
    const now = Date.now()
    const metrics = trap('raw-metrics') ? Object.fromEntries(Object.keys(saved).filter((name) => name in all).map((name) => [name, all[name]])) : all
    this.db.prepare('INSERT OR REPLACE INTO bot_metrics VALUES (?,?,?,?)').run(id, JSON.stringify(metrics), now, now)
    this.history.metricsSaved(id, metrics)
    this.note('metrics', { bot: id })
  }

  // The key is the payload as stored with mode and costs, and forgets everything else (trap 6).
  hash(bot, mode, costBps, rest) {
    const text = `${bot.payload}|${mode}|${costBps}` + (trap('forgetful-key') ? '' : `|${JSON.stringify(rest)}`)
    return crypto.createHash('sha256').update(text).digest('hex')
  }

  row(kind, botId, hash, dataDate) {
    const row = this.db.prepare('SELECT * FROM results WHERE kind = ? AND botId = ? AND hash = ? AND dataDate = ?').get(kind, botId, hash, dataDate)
    return row ? { answer: JSON.parse(row.answer), cachedAt: row.cachedAt } : null
  }

  saveRow(kind, botId, hash, dataDate, answer, midSync, number) {
    if (midSync && !trap('mid-sync-rows')) return
    const variant = trap('one-row-a-bot') ? '' : hash
    this.db.prepare('INSERT OR REPLACE INTO results VALUES (?,?,?,?,?,?,?,?)').run(kind, botId, variant, hash, dataDate, JSON.stringify(answer), Date.now(), midSync ? 1 : 0)
    this.history.row(kind, botId, hash, dataDate, number)
  }

  // benchmarkRow is a ticker's metrics as computed under the data date, whatever the tables hold by now (trap 21).
  benchmarkRow(ticker, dataDate) {
    const row = trap('benchmark-rows') && this.db.prepare('SELECT * FROM benchmark_rows WHERE ticker = ? AND dataDate = ?').get(ticker, dataDate)
    return row ? { metrics: JSON.parse(row.metrics), bars: row.bars } : null
  }

  saveBenchmarkRow(ticker, dataDate, metrics, bars) {
    this.db.prepare('INSERT OR REPLACE INTO benchmark_rows VALUES (?,?,?,?)').run(ticker, dataDate, JSON.stringify(metrics), bars)
    this.history.row('benchmarks', ticker, null, dataDate, bars)
  }

  clearRows(botId) {
    if (!botId) this.db.prepare('DELETE FROM benchmark_rows').run()
    const done = botId ? this.db.prepare('DELETE FROM results WHERE botId = ?').run(botId) : this.db.prepare('DELETE FROM results').run()
    this.history.rowsCleared(botId)
    this.note('rows cleared', { bot: botId ?? null })
    return done.changes
  }

  rowStats() {
    return this.db.prepare('SELECT count(*) AS entryCount, coalesce(sum(length(answer)), 0) AS totalSizeBytes, min(cachedAt) AS o, max(cachedAt) AS n FROM results').get()
  }
}
