// Daily prices in parquet files, one a ticker, as the server keeps them, read through DuckDB.
import fs from 'node:fs'
import fsp from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DuckDBInstance } from '@duckdb/node-api'
import { settings, trap } from './settings.mjs'

export const commonTickers = ['SPY', 'QQQ', 'IWM', 'EEM', 'AGG', 'GLD', 'TLT', 'BIL', 'VTI', 'DIA', 'DBC', 'DBO', 'BND', 'GBTC']
export const tickers = [...commonTickers, 'A', 'AAPL', 'AMZN', 'CAT', 'GE', 'HD', 'IBM', 'JNJ', 'KO', 'MSFT', 'PEP', 'PG', 'UPRO', 'VXX', 'XLE', 'XOM'].sort()

const lastDay = Date.UTC(2026, 0, 14) // a Wednesday
const day = 86_400_000

export function mulberry32(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

const seedOf = (text) => [...text].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) | 0, 7)

// nextBar continues a random walk by one weekday.
function nextBar(previous, random) {
  const round = (x) => Math.round(x * 10_000) / 10_000
  const open = previous.close * (1 + (random() - 0.5) * 0.01)
  const close = open * (1 + (random() - 0.495) * 0.03)
  let time = previous.time + day
  while ([0, 6].includes(new Date(time).getUTCDay())) time += day
  return {
    time, open: round(open), close: round(close), high: round(Math.max(open, close) * 1.004), low: round(Math.min(open, close) * 0.996),
    adj: round(close * 0.98), volume: Math.floor(1e6 + random() * 1e6),
  }
}

function generate(ticker) {
  const random = mulberry32(seedOf(ticker))
  const bars = []
  let bar = { time: Date.UTC(2011, 0, 14), close: 40 + random() * 100 }
  while (bar.time < lastDay) bars.push((bar = nextBar(bar, random)))
  return settings.historyDays ? bars.slice(-settings.historyDays) : bars
}

let connection
export async function duck() {
  connection ??= (await DuckDBInstance.create(':memory:')).connect()
  return connection
}

const quoted = (file) => `'${file.replaceAll("'", "''")}'`

async function rows(sql) {
  return (await (await duck()).runAndReadAll(sql)).getRowsJS()
}

// encode gives the bytes of a parquet file with the contract's columns.
async function encode(ticker, bars) {
  const dir = await fsp.mkdtemp(path.join(os.tmpdir(), 'prices-'))
  try {
    const csv = path.join(dir, 'bars.csv')
    const line = (b) => [b.time / 1000, b.open, b.high, b.low, b.close, b.adj, b.volume].join(',')
    await fsp.writeFile(csv, 'time,open,high,low,close,adj,volume\n' + bars.map(line).join('\n'))
    const out = path.join(dir, 'out.parquet')
    await (await duck()).run(`COPY (SELECT make_timestamp(CAST(time AS BIGINT) * 1000000) AS "Date", ${quoted(ticker)} AS ticker,
      CAST(open AS DOUBLE) AS "Open", CAST(high AS DOUBLE) AS "High", CAST(low AS DOUBLE) AS "Low", CAST(close AS DOUBLE) AS "Close",
      CAST(adj AS DOUBLE) AS "Adj Close", CAST(volume AS BIGINT) AS "Volume" FROM read_csv(${quoted(csv)}) ORDER BY time)
      TO ${quoted(out)} (FORMAT parquet)`)
    return await fsp.readFile(out)
  } finally {
    await fsp.rm(dir, { recursive: true })
  }
}

export async function generateAll(dir) {
  await fsp.mkdir(dir, { recursive: true })
  for (const t of settings.tickers.length ? settings.tickers : tickers) {
    const file = path.join(dir, `${t}.parquet`)
    if (!fs.existsSync(file)) {
      await fsp.writeFile(`${file}.new`, await encode(t, generate(t)))
      await fsp.rename(`${file}.new`, file)
    }
  }
}

export class Prices {
  constructor(dir, history) {
    this.dir = dir
    this.history = history
    this.generation = 0 // counts files rewritten, for whoever wants to know what the answers depended on
  }

  file(ticker) {
    return path.join(this.dir, `${ticker.replace(/[/\\:*?"<>|]/g, '_')}.parquet`)
  }

  has(ticker) {
    return fs.existsSync(this.file(ticker))
  }

  list() {
    return fs.readdirSync(this.dir).filter((f) => f.endsWith('.parquet')).map((f) => f.slice(0, -8)).sort()
  }

  // remember tells the history what the files hold at the start.
  async remember() {
    for (const t of this.list()) this.history.file(t, await this.bars(t))
  }

  // bars reads a ticker's newest bars from disk, oldest first.
  async bars(ticker, limit = 20_000) {
    const began = Date.now()
    const found = await rows(`SELECT epoch("Date") AS t, "Open", "High", "Low", "Close", "Adj Close" FROM
      (SELECT * FROM read_parquet(${quoted(this.file(ticker))}) ORDER BY "Date" DESC LIMIT ${limit}) ORDER BY "Date"`).catch((e) => {
      this.history?.unreadable(ticker, began)
      throw e
    })
    const bars = found.map(([t, open, high, low, close, adj]) => ({ time: Number(t), open, high, low, close, adj: adj ?? 0 }))
    this.history?.torn(ticker, bars, began)
    return bars
  }

  async newest(ticker) {
    const [[t]] = await rows(`SELECT epoch(max("Date")) FROM read_parquet(${quoted(this.file(ticker))})`)
    return new Date(Number(t) * 1000)
  }

  // rewrite changes one ticker's file in place: append adds the next weekday, restate changes history.
  async rewrite(ticker, mode, sync, tornMs = 0) {
    const file = this.file(ticker)
    const raw = await rows(`SELECT epoch("Date"), "Open", "High", "Low", "Close", "Adj Close", "Volume"
      FROM read_parquet(${quoted(file)}) ORDER BY "Date"`)
    let bars = raw.map(([t, open, high, low, close, adj, volume]) => ({ time: Number(t) * 1000, open, high, low, close, adj, volume: Number(volume) }))
    const last = bars.at(-1)
    if (mode === 'append') bars.push(nextBar(last, mulberry32(seedOf(ticker) ^ (last.time / day))))
    if (mode === 'restate') bars = bars.map((b) => ({ ...b, adj: Math.round(b.adj * 0.999 * 1e4) / 1e4 }))
    if (mode === 'holiday') return
    const bytes = await encode(ticker, bars)
    const began = Date.now()
    const read = bars.map(({ time, volume, ...b }) => ({ time: time / 1000, ...b }))
    if (trap('partial-files')) {
      const half = bytes.length >> 1
      await fsp.writeFile(file, bytes.subarray(0, half))
      if (tornMs) await sleep(tornMs)
      await fsp.appendFile(file, bytes.subarray(half))
    } else {
      await fsp.writeFile(`${file}.new`, bytes)
      await fsp.rename(`${file}.new`, file)
    }
    this.history?.file(ticker, read, sync, began)
    this.generation++
  }
}
