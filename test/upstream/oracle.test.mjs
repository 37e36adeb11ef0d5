// The oracle must know a right answer from a wrong one; each case here is one that a cache gets wrong.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { textOf } from './history.mjs'
import { start } from './testing.mjs'

const tree = (...positions) => JSON.stringify({ id: 'r', kind: 'basic', children: { next: [{ id: 'p', kind: 'position', positions }] } })
const run = '/api/bots/b1/run-backtest'
let [call, synced, flushed] = []

before(async () => {
  ({ call, synced, flushed } = await start({ REMEMBER: '1', SEED_BOTS: '0', HISTORY_DAYS: '120', TICKERS: 'A,SPY,QQQ,XOM' }))
  await call('POST', '/api/bots', { id: 'b1', ownerId: 'u', name: 'one', payload: tree('SPY', 'XOM') })
  await call('POST', '/api/bots', { id: 'b2', ownerId: 'u', name: 'two', payload: tree('XOM') })
})

// verdict asks about an answer as if it had come as what is said, else just now.
async function verdict(answer, said = {}) {
  const now = Date.now() + 1
  const { text, json, headers, ...ask } = { ...answer, from: now, to: now, ...said }
  await sleep(2)
  return (await call('POST', '/__test/check', { asks: [ask] })).json.verdicts[0]
}

const right = async (answer, said) => assert.deepEqual(await verdict(answer, said), { ok: true })
const wrong = async (answer, pattern, said) => assert.match((await verdict(answer, said)).why?.join() ?? 'it was taken', pattern)
const edit = (payload) => call('PUT', '/api/bots/b1', { ownerId: 'u', payload })

// same compares two answers less what differs between any two computations.
function same(a, b) {
  const steady = (x) => {
    const { cached, cachedAt, compression, ...rest } = structuredClone(x)
    if (rest.report) delete rest.report.meta.generatedAt
    return textOf(rest)
  }
  assert.equal(steady(a), steady(b))
}

test('an answer is right until the bot is another, and again when it is as before', async () => {
  const old = await call('POST', run, {})
  await right(old)
  await wrong(old, /mode "CC", not "OO"/, { body: { mode: 'OO' } })
  await wrong(old, /costBps 5, not 0/, { body: { costBps: 0 } })
  await edit(tree('QQQ'))
  await wrong(old, /another strategy/)
  await right(old, { from: old.from })
  await edit(tree('SPY', 'XOM').replace('"r"', '"other id"'))
  await right(old)
  await call('DELETE', '/api/bots/b1?ownerId=u')
  await wrong(old, /was not there/)
  const gone = await call('POST', run, {})
  await right(gone)
  await call('POST', '/api/bots/b1/restore', { ownerId: 'u' })
  await wrong(gone, /there all the time/)
})

test('bytes that the server never gave are wrong', async () => {
  await wrong({ ...(await call('POST', run, {})), sha: '00' }, /never gave/)
})

test('a row that forgets the benchmark is right as long as the server has it, and never afresh', async () => {
  await call('POST', run, { benchmarkTicker: 'QQQ', forceRefresh: true })
  const foreign = await call('POST', run, {})
  assert.equal(foreign.json.cached, true)
  await right(foreign)
  await wrong(foreign, /benchmark "QQQ"/, { fresh: true })
  await wrong(foreign, /benchmark "QQQ"/, { body: { forceRefresh: true } })
  await call('POST', run, { mode: 'OO' })
  await wrong(foreign, /benchmark "QQQ"/)
  await right(foreign, { grace: 60_000 })
})

test('a correlation is right for the bots, in their order, with the metrics that are saved', async () => {
  await call('PUT', '/api/bots/b1/metrics', { sharpeRatio: 1, cagr: 1 })
  await call('PUT', '/api/bots/b2/metrics', { sharpeRatio: 2, cagr: 2 })
  const body = { botIds: ['b1', 'b2'], metric: 'sharpe' }
  const optimize = await call('POST', '/api/correlation/optimize', body)
  const plain = await call('POST', '/api/correlation/optimize', { ...body, metric: 'correlation' })
  const recommend = await call('POST', '/api/correlation/recommend', { currentBotIds: ['b1'], candidateBotIds: ['b2'] })
  await right(optimize)
  await right(recommend)
  await wrong(optimize, /another order/, { body: { ...body, botIds: ['b2', 'b1'] } })
  await call('PUT', '/api/bots/b2/metrics', { sharpeRatio: 3, cagr: 3 })
  await wrong(optimize, /b2 with the metrics/)
  await wrong(recommend, /b2 with the metrics/)
  await right(plain)
  await edit(tree('QQQ', 'SPY'))
  await wrong(plain, /b1 with another strategy/)
})

test('after a sync the old is right only as far as the server itself has it, or nobody could know', async () => {
  await edit(tree('SPY', 'XOM'))
  const old = {
    run: await call('POST', run, { forceRefresh: true }), candles: await call('GET', '/api/candles/XOM?limit=60'),
    batch: await call('POST', '/api/candles/batch', { tickers: ['SPY'], limit: 60 }), benchmarks: await call('GET', '/api/benchmarks/metrics?tickers=SPY'),
  }
  await synced('append')
  await wrong(old.candles, /neither in its file/)
  await right(old.candles, { grace: 60_000 })
  await right(old.candles, { late: 60_000 })
  await right(old.batch)
  await wrong(old.batch, /bars/, { fresh: true })
  await call('POST', run, { mode: 'OO' })
  await right(old.run)
  await wrong(old.run, /bars \w+ of \w+/, { fresh: true })
  await flushed()
  await wrong(old.run, /bars \w+ of XOM/)
  const mixed = await call('POST', run, {})
  assert.equal(mixed.json.equityCurve.at(-1).date, '2026-01-14', 'SPY is from memory')
  await right(mixed)
  await wrong(mixed, /ends on 2026-01-14/, { lasting: true })
  await wrong(mixed, /bars \w+ of SPY/, { fresh: true })
})

test('the past can be computed again', async () => {
  const asks = [
    ['POST', run, { forceRefresh: true }], ['POST', '/api/backtest', { payload: tree('XOM') }], ['POST', '/api/bots/b2/sanity-report', { years: 1 }],
    ['POST', '/api/correlation/optimize', { botIds: ['b1', 'b2'], metric: 'sharpe' }], ['GET', '/api/candles/XOM?limit=60'],
    ['POST', '/api/indicator-series', { mode: 'CC', conditions: [{ id: 'c', ticker: 'XOM', metric: 'Rate of Change', window: 3 }] }],
  ]
  const admin = (await call('POST', '/api/auth/login', { email: 'admin@example.com', password: 'admin-password' })).json
  await call('POST', '/api/admin/cache/invalidate', {}, { Authorization: `Bearer ${admin.accessToken}` })
  await flushed()
  const answers = []
  for (const ask of asks) answers.push(await call(...ask))
  const at = Date.now()
  await sleep(2)
  await edit(tree('A'))
  await call('PUT', '/api/bots/b2/metrics', { sharpeRatio: 9 })
  await synced('restate')
  for (const [i, [method, target, body]] of asks.entries()) {
    assert.equal(answers[i].status, 200, answers[i].text)
    same((await call('POST', '/__test/fresh', { method, path: target, body, at })).json, answers[i].json)
    const now = (await call('POST', '/__test/fresh', { method, path: target, body })).json
    assert.ok(textOf(now.equityCurve ?? now) !== textOf(answers[i].json.equityCurve ?? answers[i].json), target)
  }
})
