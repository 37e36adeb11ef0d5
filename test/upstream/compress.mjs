// The server makes a tree smaller before it walks it: a gate whose else is a gate with the same then becomes one
// gate with the conditions of both. Whether two subtrees are the same is told by JSON.stringify, so that the order
// of slots and of a condition's fields decides it, and a merge can change the result (trap 17).
import crypto from 'node:crypto'

// What the engine reads of a node besides its children and conditions; all else changes nothing (trap 19).
const read = [
  'kind', 'positions', 'weighting', 'window', 'weight', 'metric', 'rank', 'bottom',
  'scaleTicker', 'scaleMetric', 'scaleWindow', 'scaleFrom', 'scaleTo',
]
const readOfCondition = ['type', 'ticker', 'metric', 'window', 'comparator', 'threshold', 'expanded', 'rightTicker', 'rightMetric', 'rightWindow', 'forDays']
const lists = ['conditions', 'entryConditions', 'exitConditions']

const isNode = (x) => x && typeof x === 'object' && !Array.isArray(x)
const nodesOf = (slot) => (Array.isArray(slot) ? slot : []).filter(isNode)

// hashOf names a subtree by what the server compares: conditions as they are spelled, slots as they are ordered.
function hashOf(node) {
  const slots = Object.entries(node.children ?? {}).map(([name, slot]) => [name, nodesOf(slot).map(hashOf)])
  return JSON.stringify([read.map((name) => node[name]), lists.map((name) => node[name]), node.numbered, slots])
}

const sameNodes = (a, b) => a.length > 0 && JSON.stringify(a.map(hashOf)) === JSON.stringify(b.map(hashOf))

// compressed gives the tree that is walked, and how many gates were merged.
export function compressed(tree) {
  let merged = 0
  const visit = (node) => {
    if (!isNode(node)) return node
    const children = Object.fromEntries(Object.entries(node.children ?? {}).map(([name, slot]) => [name, nodesOf(slot).map(visit)]))
    const [other, more] = children.else ?? []
    if (node.kind === 'indicator' && other?.kind === 'indicator' && !more && sameNodes(children.then ?? [], nodesOf(other.children?.then))) {
      merged++
      return {
        ...node, conditions: [...(node.conditions ?? []), ...(other.conditions ?? [])],
        children: { ...children, else: nodesOf(other.children?.else) },
      }
    }
    return { ...node, children }
  }
  return { tree: visit(tree), merged }
}

// stateKey is the name under which an alt exit's state is kept, in a plain object (trap 18).
export const stateKey = (node) => node.id || 'unknown'

// meaning names what a strategy means: two trees have the same when no backtest can tell them apart. Ids count
// only where they do for the engine: which alt exits share a state, and which names every object has.
export function meaning(tree) {
  const keys = new Map()
  const state = (node) => {
    const name = String(stateKey(node))
    if (name in {}) return name
    if (!keys.has(name)) keys.set(name, keys.size)
    return keys.get(name)
  }
  const conditions = (list) => (list ?? []).map((c) => readOfCondition.map((name) => c?.[name]))
  const visit = (node) => [
    read.map((name) => node[name]), lists.map((name) => conditions(node[name])),
    node.numbered && [node.numbered.quantifier, node.numbered.n, (node.numbered.items ?? []).map((i) => conditions(i?.conditions))],
    node.kind === 'altExit' ? state(node) : null, ['next', 'then', 'else'].map((name) => nodesOf(node.children?.[name]).map(visit)),
  ]
  const text = JSON.stringify(visit(compressed(tree).tree))
  return crypto.createHash('sha256').update(text).digest('hex').slice(0, 16)
}
