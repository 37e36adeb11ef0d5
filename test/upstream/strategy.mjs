// A bot's tree, walked for one day: which tickers to hold, with which weights.
import { stateKey } from './compress.mjs'
import { indicator } from './indicators.mjs'

// involved lists every ticker that a tree names: those to hold, and those that are looked at.
export function involved(tree) {
  const [held, watched] = [new Set(), new Set()]
  const note = (t, into = watched) => typeof t === 'string' && t && t !== 'Empty' && !t.startsWith('branch:') && into.add(t.toUpperCase())
  const visit = (x) => {
    if (Array.isArray(x)) return x.forEach(visit)
    if (!x || typeof x !== 'object') return
    note(x.ticker)
    note(x.rightTicker)
    note(x.scaleTicker)
    for (const p of x.positions ?? []) note(typeof p === 'string' ? p : p?.ticker, held)
    Object.values(x).forEach(visit)
  }
  visit(tree)
  return { held: [...held], watched: [...watched] }
}

const conditionsOf = (node) => node.conditions ?? []

// holds evaluates a list of conditions joined by their types: if, and, or.
function holds(conditions, day, market) {
  let result = null
  for (const c of conditions) {
    const one = condition(c, day, market)
    if (result === null || c.type === 'if') result = one
    else result = c.type === 'or' ? result || one : result && one
  }
  return result ?? false
}

function condition(c, day, market) {
  const span = Math.max(1, c.forDays || 1)
  for (let back = 0; back < span; back++) {
    if (!compare(c, day - back, market)) return false
  }
  return true
}

function compare(c, day, market) {
  const left = (d) => indicator(c.metric, market.history(c.ticker), d, c.window)
  const right = (d) => (c.expanded && c.rightTicker ? indicator(c.rightMetric, market.history(c.rightTicker), d, c.rightWindow) : c.threshold)
  const [l, r] = [left(day), right(day)]
  if (l === null || r === null || r === undefined) return false
  switch (c.comparator) {
    case 'gt': return l > r
    case 'lt': return l < r
    case 'crossAbove': return l > r && left(day - 1) <= right(day - 1)
    case 'crossBelow': return l < r && left(day - 1) >= right(day - 1)
    default: return false
  }
}

const slot = (node, name) => (node.children?.[name] ?? []).filter(Boolean)

function add(into, from, weight) {
  for (const [ticker, w] of Object.entries(from)) into[ticker] = (into[ticker] ?? 0) + w * weight
}

// spread gives the allocation of several nodes: equal, or as their defined weights say.
function spread(nodes, day, market, node) {
  const out = {}
  const defined = node.weighting === 'defined'
  const weights = nodes.map((n) => (defined ? Number(n.window ?? n.weight ?? 0) : 1))
  const total = weights.reduce((a, b) => a + b, 0) || 1
  nodes.forEach((n, i) => add(out, allocate(n, day, market), weights[i] / total))
  return out
}

// allocate gives {ticker: weight} of a node on a day; what is not allocated is cash.
export function allocate(node, day, market) {
  switch (node?.kind) {
    case 'position': {
      const names = (node.positions ?? []).map((p) => (typeof p === 'string' ? p : p?.ticker)).filter((t) => t && t !== 'Empty')
      return Object.fromEntries(names.map((t) => [t.toUpperCase(), 1 / names.length]))
    }
    case 'indicator': {
      // A market that is told so looks at ids, which the server does not as far as is known.
      const odd = market.idsMatter && node.id && node.id.charCodeAt(node.id.length - 1) % 2
      const yes = holds(conditionsOf(node), day, market)
      return spread(slot(node, yes !== Boolean(odd) ? 'then' : 'else'), day, market, node)
    }
    case 'numbered': {
      const items = node.numbered?.items ?? []
      const n = items.filter((i) => holds(conditionsOf(i), day, market)).length
      const yes = node.numbered?.quantifier === 'all' ? n === items.length : n >= (node.numbered?.n ?? 1)
      return spread(slot(node, yes ? 'then' : 'else'), day, market, node)
    }
    case 'altExit': {
      // Today's signal counts from the next time that the state is looked at. The object has a prototype, and
      // nodes without an id share a state.
      const key = stateKey(node)
      const inside = Boolean(market.states[key])
      market.states[key] = holds((inside ? node.exitConditions : node.entryConditions) ?? [], day, market) ? !inside : inside
      return spread(slot(node, inside ? 'then' : 'else'), day, market, node)
    }
    case 'scaling': {
      const at = indicator(node.scaleMetric, market.history(node.scaleTicker), day, node.scaleWindow) ?? node.scaleFrom
      const share = Math.min(1, Math.max(0, (at - node.scaleFrom) / (node.scaleTo - node.scaleFrom || 1)))
      const out = {}
      add(out, spread(slot(node, 'then'), day, market, node), 1 - share)
      add(out, spread(slot(node, 'else'), day, market, node), share)
      return out
    }
    case 'function': {
      const scored = slot(node, 'next').map((n) => [score(n, node, day, market), n]).filter(([s]) => s !== null)
      scored.sort((a, b) => (node.rank === 'Top' ? b[0] - a[0] : a[0] - b[0]))
      return spread(scored.slice(0, node.bottom ?? 1).map(([, n]) => n), day, market, node)
    }
    default:
      return spread(slot(node ?? {}, 'next'), day, market, node ?? {})
  }
}

function score(node, by, day, market) {
  const tickers = Object.keys(allocate(node, day, market))
  if (!tickers.length) return null
  return indicator(by.metric, market.history(tickers[0]), day, by.window)
}
