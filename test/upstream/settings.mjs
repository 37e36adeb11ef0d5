// What the stand-in can be told by its environment. Traps are on unless TRAPS_OFF names them.
import path from 'node:path'
import { fileURLToPath } from 'node:url'

process.env.TZ = 'UTC' // as in the server's container

const here = path.dirname(fileURLToPath(import.meta.url))
const env = process.env

export const traps = [
  'odd-date-text', // 3: the data date is a cut-off Date text, empty on Tuesdays and Thursdays
  'one-row-a-bot', // 6, 7: each run of a bot evicts its others
  'forgetful-key', // 6: the row's key forgets benchmark, split and sanity options
  'stale-bars', // 5: bars of common tickers stay in memory
  'stale-tables', // 5: benchmark tables are never reloaded
  'batch-memory', // 5: batch candles are remembered for 30 minutes
  'mid-sync-rows', // 5: rows computed during a sync stay valid after it
  'run-saves-metrics', // 7: hits too
  'spa-for-unknown', // 8: index.html with 200 for unknown GETs
  'partial-files', // 4: files are rewritten in place, in two halves
  'price-databases', // 16: built price databases live as long as the process
  'benchmark-rows', // 21: metrics of a benchmark come from a row while there is one for the date text
  'raw-metrics', // 23: a bot's saved metrics are shown as the row has them, without some
  'hidden-deletes', // 24: the waiting list's routes delete private bots without tags
  'coarse-updated-at', // 24: updatedAt is in whole seconds
  'last-sync-lost', // 26: a restart forgets lastSync
  'volatile-fields', // 9: key order and times differ between computations
]

export const settings = {
  port: Number(env.PORT || 0),
  host: env.HOST || '127.0.0.1',
  dataDir: env.DATA_DIR || path.join(here, '.data'),
  parquetSource: env.PARQUET_DIR || '',
  shape: env.SHAPE === 'app' ? 'app' : 'sys',
  access: env.ACCESS_STYLE || (env.AUTH_BOTS === '1' ? 'token' : 'open'),
  accessPrices: env.ACCESS_PRICES === '1',
  backtestCpuMs: Number(env.BACKTEST_CPU_MS || 0),
  idsMatter: env.IDS_MATTER === '1',
  dataDateMemoryMs: Number(env.DATA_DATE_MEMORY_MS || 60_000),
  syncMs: Number(env.SYNC_DURATION_MS || 3000),
  origins: (env.ALLOWED_ORIGINS || 'http://localhost:5173,http://localhost:8787,http://app.example,http://other.example').split(','),
  jwtSecret: env.JWT_SECRET || 'stand-in-secret-of-at-least-32-characters',
  historyDays: Number(env.HISTORY_DAYS || 0), // 0: since 2011
  tickers: (env.TICKERS || '').split(',').filter(Boolean), // empty: all
  seedBots: env.SEED_BOTS !== '0',
  remember: env.REMEMBER === '1',
  off: new Set((env.TRAPS_OFF || '').split(',').filter(Boolean)),
}

for (const name of settings.off) {
  if (!traps.includes(name)) throw new Error(`TRAPS_OFF: no trap ${name}; there are ${traps.join(', ')}`)
}

export const trap = (name) => !settings.off.has(name)
