// The server's own scheduler: rewrites the price files one after the other, in place, over minutes.
import crypto from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { settings, trap } from './settings.mjs'

const nothingSynced = () => (settings.shape === 'app' ? null : { yfinance: null, tiingo: null, tiingo_5d: null, tiingo_full: null })

export class Sync {
  constructor(prices, store) {
    this.prices = prices
    this.store = store
    this.job = null
    this.lastSync = nothingSynced()
    this.syncedToday = 0
    this.jobs = new Map()
    this.killed = false
    this.config = settings.shape === 'app'
      ? { enabled: true, updateTime: '18:00', timezone: 'America/New_York', batchSize: 100, sleepSeconds: 2 }
      : { tiingo5d: { enabled: true, updateTime: '18:00', timezone: 'America/New_York' }, tiingoFull: { dayOfMonth: 1, updateTime: '18:00' } }
  }

  get running() {
    return this.job !== null
  }

  start({ source = 'tiingo', mode = 'append', durationMs = settings.syncMs, tornMs = 0, id = null, announced = false } = {}) {
    if (this.job) return false
    const all = this.prices.list()
    this.job = { pid: process.pid, startedAt: new Date().toISOString(), tickerCount: all.length, syncedCount: 0, phase: 'preparing', source }
    this.killed = false
    this.syncedToday = 0
    this.store.note('sync started', { mode })
    this.done = this.run(all, { mode, durationMs, tornMs, source, id }, { at: Date.now(), announced })
    return true
  }

  async run(all, { mode, durationMs, tornMs, source, id }, sync) {
    const began = Date.now()
    let status = 'success'
    this.job.phase = 'downloading'
    try {
      for (const [i, ticker] of all.entries()) {
        if (this.killed) { status = 'error'; break }
        await this.prices.rewrite(ticker, mode, sync, tornMs)
        this.job.syncedCount = this.syncedToday = i + 1
        this.store.note('file', { ticker, mode })
        if (id) this.jobs.get(id).syncedTickers.push(ticker)
        await sleep(Math.max(0, began + (durationMs * (i + 1)) / all.length - Date.now()))
      }
    } catch (e) {
      status = 'error'
      this.store.note('sync failed', { message: String(e) })
    }
    if (this.killed === 'restart') return
    const entry = {
      date: new Date().toISOString().slice(0, 10), status, tickerCount: all.length, syncedCount: this.syncedToday,
      durationSeconds: (Date.now() - began) / 1000, timestamp: new Date().toISOString(), source, mode, trackingKey: source,
    }
    if (settings.shape === 'app') this.lastSync = entry
    else this.lastSync[source] = entry // run-now is tracked under its source
    if (id) this.jobs.get(id).status = status === 'success' ? 'done' : 'error'
    this.store.note('sync ended', { status })
    this.job = null
  }

  download(options) {
    const id = crypto.randomUUID()
    this.jobs.set(id, { jobId: id, status: 'running', events: [], syncedTickers: [] })
    if (!this.start({ ...options, id })) {
      this.jobs.delete(id)
      return null
    }
    return id
  }

  // restart is what a restart of the server does: the sync that runs is gone with the process, and so is what was
  // known of those before (trap 26).
  async restart() {
    this.killed = 'restart'
    await this.done
    this.job = null
    this.jobs.clear()
    this.syncedToday = 0
    if (trap('last-sync-lost')) this.lastSync = nothingSynced()
  }

  kill() {
    this.killed = true
    return this.running
  }

  status() {
    return { isRunning: this.running, schedulerActive: true, currentJob: this.job }
  }

  stats() {
    const total = this.prices.list().length
    return { total, active: total, syncedToday: this.syncedToday, pending: total - this.syncedToday, lastSync: new Date().toISOString().slice(0, 10) }
  }
}
