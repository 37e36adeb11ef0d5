// The price databases that the engine has built: bars by ticker, for the tickers of a strategy. They live as
// long as the process. Nothing clears them, and only others push them out (trap 16).
import { setTimeout as sleep } from 'node:timers/promises'
import { trap } from './settings.mjs'

const room = 50
const limit = 20_000
const names = (tickers) => [...new Set(tickers)].sort()

export class PriceDatabases {
  constructor(market, history) {
    Object.assign(this, { market, history, built: new Map(), slowMs: 0 })
  }

  // open gives the database for the tickers, with its key; fresh reads the files and keeps nothing.
  async open({ held, watched }, benchmark, fresh = null) {
    const key = `${names(held)}|${names([...watched, benchmark])}|${limit}`
    if (fresh) return { bars: await this.build([...held, ...watched, benchmark], fresh) }
    if (!trap('price-databases')) return { bars: await this.build([...held, ...watched, benchmark], (t) => this.market.backtestBars(t)) }
    const { built } = this
    if (!built.has(key)) {
      const bars = await this.build([...held, ...watched, benchmark], (t) => this.market.backtestBars(t))
      if (built === this.built) this.keep(key, bars) // else the process that asked is gone
      else built.set(key, bars)
    }
    return { key, bars: built.get(key) }
  }

  // build reads each ticker's bars. One whose file can't be read is left out, and nobody is told.
  async build(tickers, barsOf) {
    const bars = {}
    const { slowMs } = this
    this.slowMs = 0
    for (const t of names(tickers)) bars[t] = await Promise.resolve(barsOf(t)).catch(() => [])
    if (slowMs) await sleep(slowMs)
    return bars
  }

  // keep takes a place, even for a database in which nothing was found.
  keep(key, bars) {
    while (this.built.size >= room && !this.built.has(key)) this.drop(this.built.keys().next().value)
    this.built.set(key, bars)
    this.history.database(key, bars)
  }

  drop(key) {
    this.built.delete(key)
    this.history.databaseGone(key)
  }

  // restart is what a restart of the server does to them.
  restart() {
    this.built = new Map()
    this.history.dropped(this.history.databases, true)
  }
}
