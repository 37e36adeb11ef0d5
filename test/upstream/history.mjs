// What every answer was made of, and what the server held at which moment. With REMEMBER=1 the stand-in
// keeps both, so that an oracle can tell of any answer whether the server would have given it at some moment.
import crypto from 'node:crypto'
import { meaning } from './compress.mjs'
import { settings } from './settings.mjs'

const sha = (text) => crypto.createHash('sha256').update(text).digest('hex')

// A Timeline is the values of one thing, each with the moments (ms) at which it began and ended to hold.
export class Timeline {
  items = []

  set(value, from = Date.now()) {
    const last = this.items.at(-1)
    const now = Date.now()
    if (last?.to === Infinity) last.to = now
    this.items.push({ ...value, from, to: Infinity })
    return this.items.at(-1)
  }

  end(value = {}) {
    const last = this.items.at(-1)
    if (last?.to === Infinity) Object.assign(last, { to: Date.now() }, value)
  }

  get now() {
    const last = this.items.at(-1)
    return last?.to === Infinity ? last : null
  }

  // within gives the values that held at some moment of [from, to]; until says how long one counts, at least to its end.
  within(from, to, until = (item) => item.to) {
    return this.items.filter((item) => item.from <= to && Math.max(item.to, until(item)) >= from)
  }
}

const canonical = (x) => {
  if (Array.isArray(x)) return x.map(canonical)
  if (!x || typeof x !== 'object') return x
  return Object.fromEntries(Object.keys(x).sort().map((k) => [k, canonical(x[k])]))
}
export const textOf = (x) => JSON.stringify(canonical(x))

// savedOf is the part of saved metrics that a correlation's answer shows or uses.
export const savedOf = (m) => ({ cagr: m?.cagr, sharpe: m?.sharpeRatio, volatility: m?.volatility, beta: m?.beta })

export class History {
  constructor() {
    this.on = settings.remember
    this.contents = new Map() // id of some bars → the bars
    this.ids = new WeakMap() // bars → id
    this.made = [] // what was computed, by number: from which inputs
    this.numbers = new WeakMap() // an answer → its number
    this.given = new Map() // sha256 of a body → the numbers of what it was
    this.clear()
  }

  // clear forgets the bots' past, when the bots themselves are thrown away. The files stay.
  clear() {
    this.bots = new Map()
    this.metrics = new Map()
    this.rows = new Map()
    this.files ??= new Map()
    this.memory ??= new Map() // bars of common tickers
    this.tables ??= new Map()
    this.batch ??= new Map()
    this.databases ??= new Map() // built price databases, by their key
    this.dates ??= []
  }

  line(map, key) {
    if (!map.has(key)) map.set(key, new Timeline())
    return map.get(key)
  }

  // idOf names bars by their content.
  idOf(bars) {
    if (!this.on || !bars) return null
    let id = this.ids.get(bars)
    if (!id) {
      const numbers = new Float64Array(bars.length * 6)
      bars.forEach((b, i) => numbers.set([b.time, b.open, b.high, b.low, b.close, b.adj], i * 6))
      id = crypto.createHash('sha256').update(Buffer.from(numbers.buffer)).digest('hex').slice(0, 16)
      this.ids.set(bars, id)
      if (!this.contents.has(id)) this.contents.set(id, bars)
    }
    return id
  }

  // lastOf names the newest n bars of some bars.
  lastOf(id, n) {
    const bars = this.contents.get(id)
    if (!bars || bars.length <= n) return id
    bars.last ??= new Map()
    if (!bars.last.has(n)) bars.last.set(n, bars.slice(-n))
    return this.idOf(bars.last.get(n))
  }

  // seenAs names what a backtest of the mode sees of some bars: restated adjusted prices change nothing for
  // one from open to open.
  seenAs(id, mode) {
    const bars = this.contents.get(id)
    if (!bars || !mode) return id
    bars.seen ??= {}
    const values = (b) => (mode === 'CC' ? [b.time, b.adj || b.close] : [b.time, b.open, b.close])
    bars.seen[mode === 'CC'] ??= sha(bars.map(values).join()).slice(0, 16)
    return bars.seen[mode === 'CC']
  }

  // make numbers what was computed; tag gives an answer that number; gave remembers the bytes that went out.
  make(inputs) {
    return this.on ? this.made.push({ ...inputs, at: Date.now() }) - 1 : null
  }

  tag(answer, number) {
    if (this.on) this.numbers.set(answer, number)
    return answer
  }

  numberOf(answer) {
    return this.numbers.get(answer) ?? null
  }

  gave(text, answer) {
    const number = this.numberOf(answer)
    if (!this.on || number === null) return
    const name = sha(text)
    if (!this.given.has(name)) this.given.set(name, new Set())
    this.given.get(name).add(number)
  }

  // The changes, as they happen.
  bot(id, row) {
    if (!this.on) return
    const live = row && !row.deletedAt && row.payload
    let strategy = null
    try { strategy = live ? meaning(JSON.parse(row.payload)) : null } catch { /* not a strategy: no answer */ }
    this.line(this.bots, id).set({ live: strategy !== null, strategy, payload: row?.payload, mode: row?.backtestMode, costBps: row?.backtestCostBps })
  }

  metricsSaved(id, metrics) {
    if (this.on) this.line(this.metrics, id).set({ saved: savedOf(metrics) })
  }

  row(kind, botId, hash, dataDate, number) {
    if (this.on) this.line(this.rows, `${kind} ${botId}`).set({ hash, dataDate, number })
  }

  rowNumber(kind, botId) {
    return this.rows.get(`${kind} ${botId}`)?.now?.number ?? null
  }

  rowsCleared(botId) {
    for (const [key, line] of this.rows) if (!botId || key.endsWith(` ${botId}`)) line.end()
  }

  // file notes that a ticker's file holds bars since began, when its rewriting began.
  file(ticker, bars, sync = null, began = Date.now()) {
    if (!this.on) return
    const line = this.line(this.files, ticker)
    line.end({ sync })
    line.set({ id: this.idOf(bars) }, began)
  }

  // unreadable notes that a file could not be read since from.
  unreadable(ticker, from) {
    this.files.get(ticker)?.items.splice(-1, 0, { id: null, from, to: Date.now(), torn: true })
  }

  // torn notes bars that were read while their file was being rewritten, and belong to no version of it.
  torn(ticker, bars, from) {
    if (!this.on) return
    const line = this.files.get(ticker)
    const id = this.idOf(bars)
    if (!line || line.items.slice(-6).some((item) => this.lastOf(item.id, bars.length) === id)) return
    line.items.splice(-1, 0, { id, from, to: Date.now(), torn: true })
  }

  held(map, ticker, bars, more = {}) {
    if (this.on) this.line(map, ticker).set({ id: this.idOf(bars), ...more })
  }

  database(key, bars) {
    if (this.on) this.line(this.databases, key).set({ bars: Object.fromEntries(Object.entries(bars).map(([t, list]) => [t, list.length ? this.idOf(list) : null])) })
  }

  databaseGone(key) {
    this.databases.get(key)?.end()
  }

  // dropped notes that memory was emptied: unannounced, when the server was restarted.
  dropped(map, unannounced = false) {
    for (const line of map.values()) line.end({ unannounced })
  }

  date(text, from, to) {
    if (this.on) this.dates.push({ text, from, to })
  }
}
