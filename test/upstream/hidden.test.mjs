// What the server holds and does not show: price databases, benchmark tables, what a restart forgets.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { holding, small, start } from './testing.mjs'

const asked = (payload, more = {}) => ['POST', '/api/backtest', { payload, mode: 'CC', costBps: 5, ...more }]
const lastOf = ({ json }) => json.equityCurve.at(-1).date
const ends = ({ json }) => json.equityCurve.at(-1)

test('a price database outlives a sync, a clearing and forceRefresh, until fifty others push it out', async () => {
  const s = await start(small)
  const others = { XOM: asked(holding('XOM'), { benchmarkTicker: 'XOM' }), QQQ: asked(holding('XOM'), { benchmarkTicker: 'QQQ' }) }
  await s.call(...others.XOM)
  await s.synced('append')
  await s.invalidated()
  assert.equal(lastOf(await s.call(...others.XOM)), '2026-01-14')
  assert.equal(lastOf(await s.call(...others.QQQ)), '2026-01-15', 'another benchmark is another database')
  const none = await s.call('POST', '/api/backtest', { payload: '{"id":"p","kind":"position","positions":["ZZ0"]}', benchmarkTicker: 'ZZ0' })
  assert.deepEqual([none.status, none.json], [500, { error: 'Not enough overlapping price data' }])
  assert.equal(lastOf(await s.call(...others.XOM)), '2026-01-14')
  await s.flushed()
  assert.equal(lastOf(await s.call(...others.XOM)), '2026-01-15')
})

test('after a restatement a stale database ends right and is wrong, and plants its rows', async () => {
  const s = await start({ ...small, TRAPS_OFF: 'odd-date-text' })
  await s.call('POST', '/api/bots', { id: 'b', ownerId: 'u', name: 'b', payload: holding('XOM', 'A') })
  const run = (body = {}) => s.run(body, 'b')
  const before = await run()
  await s.synced('restate')
  await s.invalidated()
  const stale = await run({ forceRefresh: true })
  assert.deepEqual(ends(stale), ends(before))
  await s.flushed()
  assert.deepEqual(ends(await run()), ends(before), 'from the row')
  const fresh = (await s.call('POST', '/__test/fresh', { method: 'POST', path: '/api/bots/b/run-backtest' })).json
  assert.deepEqual(ends(await run({ forceRefresh: true })), fresh.equityCurve.at(-1))
  assert.notDeepEqual(fresh.equityCurve.at(-1), ends(before))
})

test('a file that was half written at the first build drops its ticker for good, and nobody is told', async () => {
  const s = await start(small)
  const syncing = s.synced('restate', { tornMs: 300 })
  const both = asked(holding('TLT', 'XOM'))
  let dropped
  for (let i = 0; i < 400 && !dropped; i++) {
    const torn = await s.call('GET', '/api/candles/XOM?limit=50')
    if (torn.status === 500) dropped = await s.call(...both)
  }
  await syncing
  const whole = (await s.call('POST', '/__test/fresh', { method: both[0], path: both[1], body: both[2] })).json
  const again = await s.call(...both)
  assert.deepEqual([again.json.success, lastOf(again)], [true, whole.equityCurve.at(-1).date])
  assert.deepEqual(ends(again), ends(dropped))
  assert.notDeepEqual(ends(again), whole.equityCurve.at(-1))
})

test('benchmark tables are loaded once, and their age shows in a range only', async () => {
  const s = await start(small)
  const plain = () => s.call('GET', '/api/benchmarks/metrics?tickers=SPY')
  const ranged = (tickers = 'SPY,QQQ') => s.call('GET', `/api/benchmarks/metrics?tickers=${tickers}&startDate=2026-01-15`)
  const before = (await plain()).json.benchmarks.SPY
  await s.synced('append')
  assert.match((await ranged()).json.errors.toSorted().join(), /^QQQ: insufficient data \(1 days\).*SPY: insufficient data \(0 days\)/)
  await s.invalidated()
  assert.match((await ranged('SPY')).json.errors[0], /^SPY: insufficient data \(0 days\)/)
  assert.deepEqual((await plain()).json.benchmarks.SPY, before)
  await s.call('POST', '/__test/restart', {})
  assert.match((await ranged('SPY')).json.errors[0], /^SPY: insufficient data \(1 days\)/)
})

test('the row of a benchmark outlives its table while the date text is the same', async () => {
  const s = await start({ ...small, TRAPS_OFF: 'odd-date-text' })
  const plain = async () => (await s.call('GET', '/api/benchmarks/metrics?tickers=SPY')).json.benchmarks.SPY
  const before = await plain()
  await s.synced('restate')
  await s.call('POST', '/__test/restart', {})
  assert.deepEqual(await plain(), before)
  await s.invalidated()
  assert.notDeepEqual(await plain(), before)
})

test('a restart forgets databases, bars, jobs and lastSync, and cuts who is connected', async () => {
  const s = await start(small)
  const spy = asked(holding('SPY'))
  const admin = await s.token()
  await s.call(...spy)
  const { jobId } = (await s.call('POST', '/api/download', { mode: 'recent' })).json
  while ((await s.call('GET', `/api/download/${jobId}`)).json.status !== 'done');
  assert.ok((await s.call('GET', '/api/admin/sync-schedule', undefined, admin)).json.lastSync.tiingo)
  assert.equal(lastOf(await s.call(...spy)), '2026-01-14')
  await s.call('POST', '/__test/busy', { backtestMs: 200 })
  const cut = s.call(...asked(holding('A'))).then(() => 'answered', () => 'cut')
  await s.call('GET', '/api/status')
  await s.call('POST', '/__test/restart', {})
  assert.match(await cut, /cut|answered/)
  assert.equal((await s.call('GET', '/api/admin/sync-schedule', undefined, admin)).json.lastSync.tiingo, null)
  assert.equal((await s.call('GET', `/api/download/${jobId}`)).status, 404)
  assert.equal(lastOf(await s.call(...spy)), '2026-01-15')
})

test('saved metrics are shown as the row has them', async () => {
  const s = await start(small)
  const at = '/api/bots/bot-7/metrics'
  assert.equal((await s.call('PUT', at, { maxDrawdown: 0.5, beta: 2, bestDay: 1, nonsense: 3 })).status, 200)
  const { metrics } = (await s.call('GET', '/api/bots/bot-7')).json.bot
  assert.equal(metrics.max_drawdown, 0.5)
  for (const name of ['beta', 'bestDay', 'best_day', 'worst_day', 'maxDrawdown', 'nonsense']) assert.ok(!(name in metrics), name)
  assert.deepEqual([(await s.call('PUT', at, { cagr: null })).status, (await s.call('PUT', '/api/bots/none/metrics', { cagr: 1 })).status], [400, 500])
})

test('the waiting list deletes private bots without tags, and what is changed within a second shows no change', async () => {
  const s = await start(small)
  const make = (id, more) => s.call('POST', '/api/bots', { id, ownerId: 'u', name: id, payload: holding('SPY'), ...more })
  for (const [method, path] of [['GET', '/api/waitlist/stats'], ['POST', '/api/waitlist/join']]) {
    await make('plain', { visibility: 'private' })
    await make('tagged', { visibility: 'private', tags: ['x'] })
    await make('nexus', { visibility: 'nexus' })
    await s.call(method, path, method === 'POST' ? {} : undefined)
    assert.deepEqual(await Promise.all(['plain', 'tagged', 'nexus'].map(async (id) => (await s.call('GET', `/api/bots/${id}`)).status)), [404, 200, 200], path)
  }
  const refused = await make('odd', { visibility: 'nexus_eligible' })
  assert.equal(refused.status, 400)
  assert.match(refused.text, /<html/)
  const updated = async () => (await s.call('GET', '/api/bots/nexus')).json.bot
  assert.equal((await updated()).updatedAt % 1000, 0)
  assert.equal((await updated()).payload, undefined)
  assert.ok((await s.call('GET', '/api/bots/nexus?userId=u')).json.bot.payload)
})

test('a body is read only when its media type is understood', async () => {
  const s = await start(small)
  const answer = async (type, body = '{"costBps":50}') => ends(await s.call('POST', '/api/bots/bot-7/run-backtest', body, { 'Content-Type': type }))
  const [right, usual] = [await answer('application/json'), await answer('application/json', '{}')]
  assert.notDeepEqual(right, usual)
  assert.deepEqual(await answer('application/json; charset=utf-8'), right)
  for (const type of ['application/json;', 'application/json;\tcharset=utf-8', 'text/plain']) assert.deepEqual(await answer(type), usual, type)
})
