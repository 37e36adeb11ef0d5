// What the server holds of prices in its own process, and how far that lags behind the files.
import { commonTickers } from './prices.mjs'
import { settings, trap } from './settings.mjs'

export class MarketMemory {
  constructor(prices, history) {
    this.prices = prices
    this.history = history
    this.bars = new Map() // of common tickers; cleared by an admin only (trap 5)
    this.tables = new Map() // benchmark tables; never reloaded (trap 5)
    this.batch = new Map() // batch candles, 30 minutes
    this.dateMemo = null
  }

  // boot loads the bars of common tickers, as SYS-new does at the start.
  async boot() {
    if (settings.shape === 'sys' && trap('stale-bars')) {
      for (const t of commonTickers) if (this.prices.has(t)) this.hold(t, await this.prices.bars(t))
    }
  }

  hold(ticker, bars) {
    this.bars.set(ticker, bars)
    this.history.held(this.history.memory, ticker, bars)
  }

  // restart is what a restart of the server does to its memory.
  async restart() {
    this.bars.clear()
    this.history.dropped(this.history.memory, true)
    for (const kind of ['tables', 'batch']) {
      this[kind] = new Map()
      this.history.dropped(this.history[kind], true)
    }
    this.dateMemo = null
    await this.boot()
  }

  async backtestBars(ticker) {
    const known = this.bars.get(ticker)
    if (known) return known
    const bars = this.prices.has(ticker) ? await this.prices.bars(ticker) : []
    if (settings.shape === 'app' && trap('stale-bars') && bars.length) { // an LRU of 100 that refills
      this.hold(ticker, bars)
      if (this.bars.size > 100) this.bars.delete(this.bars.keys().next().value)
    }
    return bars
  }

  async table(ticker) {
    const { tables } = this
    if (!tables.has(ticker) || !trap('stale-tables')) {
      if (!this.prices.has(ticker)) return null
      const bars = await this.prices.bars(ticker)
      tables.set(ticker, bars)
      if (tables === this.tables) this.history.held(this.history.tables, ticker, bars) // else the process that asked is gone
    }
    return tables.get(ticker)
  }

  async batchBars(ticker, limit) {
    const { batch } = this
    const known = batch.get(ticker)
    if (trap('batch-memory') && known && known.limit >= limit && Date.now() - known.at < 30 * 60_000) return known.bars.slice(-limit)
    const bars = await this.prices.bars(ticker, limit)
    batch.set(ticker, { bars, limit, at: Date.now() })
    if (batch === this.batch) this.history.held(this.history.batch, ticker, bars, { limit })
    return bars
  }

  clear() {
    this.bars.clear()
    this.history.dropped(this.history.memory)
  }

  // dataDate is the newest date of the alphabetically first file, as the text that it turns into (trap 3).
  async dataDate() {
    const now = Date.now()
    if (this.dateMemo?.text && now - this.dateMemo.at < settings.dataDateMemoryMs) return this.dateMemo.text
    let text
    try {
      const newest = await this.prices.newest(this.prices.list()[0])
      text = trap('odd-date-text') ? String(newest).split('T')[0] : newest.toISOString().slice(0, 10)
    } catch {
      text = new Date().toISOString().slice(0, 10)
    }
    this.dateMemo = { text, at: now }
    this.history.date(text, now, Date.now() + settings.dataDateMemoryMs)
    return text
  }
}
