// Servers that protect what they compute, in the ways that a look at one unknown bot does not show.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { holding, small, start } from './testing.mjs'

const statuses = async (s, asks, headers) => {
  const found = {}
  for (const [name, [method, path, body]] of Object.entries(asks)) found[name] = (await s.call(method, path, body, headers)).status
  return found
}
const asks = {
  unknown: ['GET', '/api/bots/no-such-bot'], mine: ['POST', '/api/bots/bot-7/run-backtest', {}], other: ['POST', '/api/bots/bot-8/run-backtest', {}],
  adhoc: ['POST', '/api/backtest', { payload: holding('SPY') }], pair: ['POST', '/api/correlation/optimize', { botIds: ['bot-7', 'bot-8'] }],
}

test('each way of access shows the unknown bot and what it protects as it is said to', async () => {
  const s = await start(small)
  const a = await s.token('a@example.com', 'password-a')
  const expected = {
    open: [{}, [404, 200, 200, 200, 200]],
    token: [{}, [401, 401, 401, 401, 401], a, [404, 200, 403, 200, 403]],
    post: [{}, [404, 401, 401, 401, 401], a, [404, 200, 403, 200, 403]],
    malformed: [{}, [400, 401, 401, 401, 401], a, [400, 200, 403, 200, 403]],
    hidden: [{}, [404, 404, 404, 401, 401], a, [404, 200, 404, 200, 404]],
    'api-key': [{}, [401, 401, 401, 401, 401], { 'X-API-Key': 'key-user-a' }, [404, 200, 403, 200, 403]],
    address: [{ 'X-Forwarded-For': '10.0.0.9' }, [403, 403, 403, 403, 403], { 'X-Forwarded-For': '1.1.1.1, 10.0.0.1' }, [404, 200, 403, 200, 403]],
  }
  for (const [style, [nobody, refused, known = nobody, seen = refused]] of Object.entries(expected)) {
    assert.equal((await s.call('POST', '/__test/access', { style })).status, 200)
    assert.deepEqual(Object.values(await statuses(s, asks, nobody)), refused, `${style}, to nobody`)
    assert.deepEqual(Object.values(await statuses(s, asks, known)), seen, `${style}, to user-a`)
    assert.equal((await s.call('GET', '/api/candles/SPY?limit=50')).status, 200)
  }
  await s.call('POST', '/__test/access', { style: 'token', prices: true })
  assert.equal((await s.call('GET', '/api/candles/SPY?limit=50')).status, 401)
  assert.equal((await s.call('GET', '/api/candles/SPY?limit=50', undefined, a)).status, 200)
  assert.equal((await s.call('POST', '/__test/access', { style: 'none such' })).status, 400)
})

test('the thread is held for as long as it is told', async () => {
  const s = await start({ ...small, BACKTEST_CPU_MS: '150' })
  const took = async (f) => { const from = performance.now(); await f(); return performance.now() - from }
  assert.ok(await took(() => s.call(...asks.adhoc)) >= 150)
  await s.call('POST', '/__test/busy', { ms: 200, backtestMs: 0 })
  assert.ok(await took(() => s.call('GET', '/api/status')) >= 100)
})
