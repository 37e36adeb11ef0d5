// node read.mjs <redis port> <parquet dir>: reads the seed's keys as the server's own cache layer would,
// with GET and JSON.parse, and checks them against the price files as the stand-in reads them and its
// own indicators. Strategies come on standard input, as a JSON array. Prints {candles, indicators,
// correlations} that were found right; anything wrong ends it with a message.
import net from 'node:net'
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { Prices, duck } from '../upstream/prices.mjs'
import { indicators } from '../upstream/indicators.mjs'

// A client for GET and SCAN: requests as arrays of bulk strings, answers one after the other.
class Redis {
  constructor(port) {
    this.waiting = []
    this.buffer = Buffer.alloc(0)
    this.socket = net.connect(port, '127.0.0.1')
    this.socket.on('error', (err) => { throw err })
    this.socket.on('data', (chunk) => {
      this.buffer = Buffer.concat([this.buffer, chunk])
      for (let answer; this.waiting.length && (answer = this.parse(0)); ) {
        this.buffer = this.buffer.subarray(answer.end)
        this.waiting.shift()(answer.value)
      }
    })
  }

  call(...words) {
    this.socket.write(`*${words.length}\r\n` + words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join(''))
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  // parse gives the answer that begins at an offset, and where it ends; undefined if it isn't all there.
  parse(at) {
    const eol = this.buffer.indexOf('\r\n', at)
    if (eol < 0) return
    const [kind, rest] = [String.fromCharCode(this.buffer[at]), this.buffer.toString('utf8', at + 1, eol)]
    let end = eol + 2
    if (kind === '+' || kind === ':') return { value: rest, end }
    if (kind === '$') {
      if (rest === '-1') return { value: null, end }
      const stop = end + Number(rest)
      return this.buffer.length < stop + 2 ? undefined : { value: this.buffer.toString('utf8', end, stop), end: stop + 2 }
    }
    assert.equal(kind, '*', `Redis said ${kind}${rest}`)
    const value = []
    for (let i = 0; i < Number(rest); i++) {
      const one = this.parse(end)
      if (!one) return
      value.push(one.value)
      end = one.end
    }
    return { value, end }
  }

  async keys(pattern) {
    const found = new Set()
    let cursor = '0'
    do {
      const [next, page] = await this.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', '1000')
      page.forEach((key) => found.add(key))
      cursor = next
    } while (cursor !== '0')
    return [...found].sort()
  }

  async get(key) {
    const text = await this.call('GET', key)
    assert.notEqual(text, null, `${key} is missing`)
    const value = JSON.parse(text)
    assert.equal(text, JSON.stringify(value), `${key} is not spelled as JSON.stringify spells it`)
    const ttl = Number(await this.call('TTL', key))
    assert.ok(ttl > 86_000 && ttl <= 86_400, `${key} lives for ${ttl} s`)
    return value
  }
}

async function candles(redis, prices) {
  for (const ticker of prices.list()) {
    const file = prices.file(ticker).replaceAll("'", "''")
    const rows = (await (await duck()).runAndReadAll(`SELECT strftime("Date", '%Y-%m-%d'), "Open", "High", "Low", "Close", CAST("Volume" AS DOUBLE), "Adj Close"
      FROM read_parquet('${file}') ORDER BY "Date"`)).getRowsJS()
    const want = rows.map(([date, open, high, low, close, volume, adjClose]) => ({ date, open, high, low, close, volume, adjClose }))
    const got = await redis.get(`candles:${ticker}`)
    assert.ok(got.length > 250, `${ticker} has ${got.length} candles`)
    assert.deepEqual(got, want)
    assert.deepEqual(Object.keys(got[0]), Object.keys(want[0]))
  }
  const names = (await redis.keys('candles:*')).map((key) => key.slice(8))
  assert.deepEqual(names, prices.list())
  return names.length
}

// wanted walks the trees without knowing their kinds: whatever has a ticker, a metric and a window.
function wanted(trees) {
  const found = new Set()
  const visit = (x) => {
    if (!x || typeof x !== 'object') return
    for (const [t, m, w] of [[x.ticker, x.metric, x.window], [x.rightTicker, x.rightMetric, x.rightWindow]]) {
      if (t && m && w) found.add(`indicator:${t}:${m}:${w}`)
    }
    for (const p of x.positions ?? []) found.add(`indicator:${p}:close:1`)
    Object.values(x).forEach(visit)
  }
  trees.forEach(visit)
  return [...found].sort()
}

async function series(redis, trees) {
  const keys = await redis.keys('indicator:*')
  assert.deepEqual(keys, wanted(trees))
  for (const key of keys) {
    const [, ticker, metric, period] = key.split(':')
    const history = (await redis.get(`candles:${ticker}`)).map((c) => c.adjClose || c.close)
    const got = await redis.get(key)
    assert.equal(got.length, history.length, key)
    const compute = indicators[metric === 'close' ? 'Current Price' : metric]
    const every = Math.max(1, Math.floor(history.length / 40)) // the stand-in begins at the first bar each time
    for (let day = 0; day < history.length; day += day < 250 ? 1 : every) {
      const want = compute(history.slice(0, day + 1), Number(period))
      if (want === null || got[day] === null) assert.equal(got[day], want, `${key} on day ${day}`)
      else assert.ok(Math.abs(got[day] - want) <= 1e-9 * Math.max(1, Math.abs(want)), `${key} on day ${day}: ${got[day]}, not ${want}`)
    }
  }
  return keys.length
}

async function correlations(redis) {
  const keys = await redis.keys('correlation:*')
  for (const key of keys) {
    const [, a, b] = key.split(':')
    assert.deepEqual([a, b], [a, b].sort(), key)
    const rho = await redis.get(key)
    assert.ok(typeof rho === 'number' && rho >= -1 && rho <= 1, `${key}: ${rho}`)
  }
  return keys.length
}

const [port, dir] = process.argv.slice(2)
const redis = new Redis(Number(port))
const trees = JSON.parse(fs.readFileSync(0, 'utf8')).map((payload) => (typeof payload === 'string' ? JSON.parse(payload) : payload))
console.log(JSON.stringify({
  candles: await candles(redis, new Prices(dir)), indicators: await series(redis, trees), correlations: await correlations(redis),
}))
process.exit(0)
