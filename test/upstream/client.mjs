// What the browser sends: a deep copy of the strategy with fresh random ids on every node, item and
// condition, as JSON in a string; and the full payload on updates that only change tags.
import { pathToFileURL } from 'node:url'

let n = 0
const freshId = (kind) => `${kind}-${Date.now()}-${++n}-${Math.random().toString(36).slice(2, 10)}`

// withFreshIds copies a tree; references (parentNodeId) follow the ids that they name.
export function withFreshIds(tree) {
  const renamed = new Map()
  const ids = (x) => {
    if (Array.isArray(x)) return x.forEach(ids)
    if (!x || typeof x !== 'object') return
    if (typeof x.id === 'string') renamed.set(x.id, freshId('node'))
    Object.values(x).forEach(ids)
  }
  ids(tree)
  const copy = (x) => {
    if (Array.isArray(x)) return x.map(copy)
    if (!x || typeof x !== 'object') return x
    return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, /^(id|parentNodeId)$/.test(k) && renamed.has(v) ? renamed.get(v) : copy(v)]))
  }
  return copy(tree)
}

const headers = { 'Content-Type': 'application/json', Origin: 'http://localhost:5173', 'Accept-Encoding': 'gzip, deflate, br' }
const send = (base, method, path, body) => fetch(base + path, { method, headers, body: JSON.stringify(body) })

export const runBacktest = (base, id, body = {}) =>
  send(base, 'POST', `/api/bots/${encodeURIComponent(id)}/run-backtest`, { mode: 'CC', costBps: 5, forceRefresh: false, benchmarkTicker: 'SPY', ...body })

export const backtest = (base, tree, body = {}) =>
  send(base, 'POST', '/api/backtest', { payload: JSON.stringify(withFreshIds(tree)), mode: 'CC', costBps: 5, customIndicators: [], benchmarkTicker: 'SPY', ...body })

export async function tag(base, id, ownerId, tags) {
  const { bot } = await (await fetch(`${base}/api/bots/${encodeURIComponent(id)}?userId=${ownerId}`)).json()
  return send(base, 'PUT', `/api/bots/${encodeURIComponent(id)}`, { ownerId, name: bot.name, payload: bot.payload, tags })
}

export async function payloadOf(base, id) {
  for (const userId of ['user-a', 'user-b']) {
    const { bot } = await (await fetch(`${base}/api/bots/${encodeURIComponent(id)}?userId=${userId}`)).json()
    if (bot?.payload) return { tree: JSON.parse(bot.payload), ownerId: bot.ownerId }
  }
  throw new Error(`no payload of ${id} is shown`)
}

async function main([base, what, id = 'bot-1']) {
  if (!base || !['backtest', 'run', 'tag'].includes(what)) {
    console.error('usage: node client.mjs <baseUrl> backtest|run|tag [botId]')
    process.exit(2)
  }
  const { tree, ownerId } = await payloadOf(base, id)
  const res = await (what === 'run' ? runBacktest(base, id) : what === 'tag' ? tag(base, id, ownerId, [`t${Date.now()}`]) : backtest(base, tree))
  console.log(res.status)
  for (const name of ['x-cache', 'x-cache-tier', 'cache-status', 'age', 'etag']) if (res.headers.has(name)) console.log(`${name}: ${res.headers.get(name)}`)
  console.log(`${(await res.text()).length} characters`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2))
