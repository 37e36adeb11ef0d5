// The stand-in is worth something only if its traps snap: each is shown here, in both shapes where they differ.
import assert from 'node:assert/strict'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { backtest, payloadOf, withFreshIds } from './client.mjs'
import { traps } from './settings.mjs'
import { generateAll } from './prices.mjs'
import { start as started } from './testing.mjs'

let prices

before(async () => {
  prices = await fs.mkdtemp(path.join(os.tmpdir(), 'prices-'))
  await generateAll(prices)
})

after(() => fs.rm(prices, { recursive: true }))

const start = (env = {}) => started({ PARQUET_DIR: prices, ...env })

test('results depend on payload, mode, costs and benchmark, and not on ids', async () => {
  const s = await start()
  const answers = new Set()
  for (const body of [{}, { mode: 'OO' }, { costBps: 50 }, { benchmarkTicker: 'QQQ', forceRefresh: true }]) {
    const { json } = await s.run(body)
    answers.add(JSON.stringify([json.metrics, json.benchmarkCurve.at(-1)]))
  }
  assert.equal(answers.size, 4)
  const { tree } = await payloadOf(s.url, 'bot-7')
  const [a, b] = [await (await backtest(s.url, tree)).json(), await (await backtest(s.url, tree)).json()]
  assert.deepEqual(a.equityCurve, b.equityCurve)
  assert.notDeepEqual(withFreshIds(tree), withFreshIds(tree))
})

test('ids change results where they are said to matter', async () => {
  const s = await start({ IDS_MATTER: '1' })
  const { tree } = await payloadOf(s.url, 'bot-7')
  const ends = new Set()
  for (let i = 0; i < 12 && ends.size < 2; i++) ends.add((await (await backtest(s.url, tree)).json()).equityCurve.at(-1).equity)
  assert.ok(ends.size > 1)
})

test('the row of a bot forgets the benchmark, is the only one, and saves metrics on its hits too', async () => {
  const s = await start()
  const spy = (await s.run()).json
  const again = (await s.run({ benchmarkTicker: 'QQQ' })).json
  assert.equal(again.cached, true)
  assert.deepEqual(again.benchmarkCurve.at(-1), spy.benchmarkCurve.at(-1))
  assert.notDeepEqual((await s.run({ benchmarkTicker: 'QQQ', forceRefresh: true })).json.benchmarkCurve.at(-1), spy.benchmarkCurve.at(-1))
  await s.run({ mode: 'OO' })
  assert.equal((await s.run()).json.cached, false, 'the run in another mode evicted the row')
  await s.call('PUT', '/api/bots/bot-7/metrics', { cagr: 99 })
  assert.equal((await s.run()).json.cached, true)
  assert.notEqual((await s.call('GET', '/api/bots/bot-7/metrics')).json.metrics.cagr, 99)
  assert.match((await s.call('PUT', '/api/bots/bot-7/metrics', { cagr: null })).text, /<html/)
})

test('after a sync the server itself is stale until an admin clears it', async () => {
  const s = await start()
  const last = async () => (await s.run({ forceRefresh: true })).json.equityCurve.at(-1).date
  const before = await last()
  await s.call('POST', '/api/candles/batch', { tickers: ['KO'], limit: 50 })
  await s.synced('append')
  const candles = async () => new Date((await s.call('GET', '/api/candles/KO?limit=50')).json.candles.at(-1).time * 1000).toISOString().slice(0, 10)
  assert.equal(await candles(), '2026-01-15')
  assert.equal(await last(), before, 'bars of common tickers are from before')
  const batch = (await s.call('POST', '/api/candles/batch', { tickers: ['KO'], limit: 50 })).json.results.KO.at(-1).time
  assert.equal(new Date(batch * 1000).toISOString().slice(0, 10), '2026-01-14')
  assert.equal((await s.call('POST', '/api/admin/cache/invalidate', {})).status, 401)
  assert.equal((await s.invalidated()).status, 200)
  assert.equal(await last(), before, 'the price database was built from them')
  await s.flushed()
  assert.equal(await last(), '2026-01-15')
})

test('the data date is no date, and empty on a Thursday', async () => {
  const s = await start()
  const text = async () => (await s.call('GET', '/api/benchmarks/metrics?tickers=SPY')).json.dataDate
  assert.equal(await text(), 'Wed Jan 14 2026 00:00:00 GM')
  await s.synced('append')
  assert.equal(await text(), '')
})

test('200 is not success', async () => {
  const s = await start()
  assert.match((await s.call('GET', '/api/no-such-thing')).text, /<!doctype html>/)
  const partial = await s.call('GET', '/api/benchmarks/metrics?tickers=SPY,NOPE')
  assert.equal(partial.status, 200)
  assert.deepEqual(partial.json.errors, ['NOPE: not found'])
  assert.deepEqual((await s.call('POST', '/api/candles/batch', { tickers: ['NOPE'] })).json.errors, ['NOPE: not found'])
})

test('payloads of nexus bots are shown to their owner only', async () => {
  const s = await start()
  assert.equal((await s.call('GET', '/api/bots/bot-1')).json.bot.payload, undefined)
  assert.ok((await s.call('GET', '/api/bots/bot-1?userId=user-a')).json.bot.payload)
  assert.ok((await s.call('GET', '/api/bots/bot-7')).json.bot.payload)
})

test('with AUTH_BOTS a private bot is its owner’s', async () => {
  const s = await start({ AUTH_BOTS: '1' })
  assert.equal((await s.run()).status, 401)
  const as = async (who) => (await s.call('POST', '/api/bots/bot-7/run-backtest', {}, await s.token(`${who}@example.com`, `password-${who}`))).status
  assert.equal(await as('a'), 200)
  assert.equal(await as('b'), 403)
})

test('the older shape has its own fields and limits', async () => {
  const s = await start({ SHAPE: 'app' })
  const answer = (await s.run()).json
  assert.equal(answer.days, undefined)
  assert.ok(answer.allocations.at(-1).alloc)
  const { tree } = await payloadOf(s.url, 'bot-7')
  assert.equal((await (await backtest(s.url, tree)).json()).engine, 'node')
  const large = await s.call('POST', '/api/backtest', { payload: 'x'.repeat(1.6e6) })
  assert.equal(large.status, 413)
  assert.match(large.text, /<html/)
})

test('every trap has a switch', async () => {
  const s = await start({ TRAPS_OFF: traps.join(',') })
  await s.run()
  assert.equal((await s.run({ benchmarkTicker: 'QQQ' })).json.cached, false)
  await s.run({ mode: 'OO' })
  assert.equal((await s.run()).json.cached, true)
  assert.equal((await s.call('GET', '/api/no-such-thing')).status, 404)
  assert.equal((await s.call('GET', '/api/benchmarks/metrics?tickers=SPY')).json.dataDate, '2026-01-14')
})
