// Pairs of strategies that a cache may or must not take for one, as the server's own engine told them apart.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { meaning } from './compress.mjs'
import { holding, small, start } from './testing.mjs'

const rsi = (id, comparator, threshold, more = {}) => ({ id, type: 'if', ticker: 'SPY', metric: 'Relative Strength Index', window: 10, comparator, threshold, ...more })
const hold = (id, ticker) => ({ id, kind: 'position', positions: [ticker] })
const scale = (id, children) => ({ id, kind: 'scaling', scaleTicker: 'SPY', scaleMetric: 'Relative Strength Index', scaleWindow: 14, scaleFrom: 30, scaleTo: 70, children })
const gate = (id, conditions, yes, no) => ({ id, kind: 'indicator', conditions, children: { then: [yes], else: [no] } })
const alt = (id) => ({
  ...(id === undefined ? {} : { id }), kind: 'altExit', children: { then: [hold('p', 'QQQ')], else: [hold('q', 'BIL')] },
  entryConditions: [rsi('e', 'lt', 45)], exitConditions: [rsi('x', 'gt', 55)],
})
const all = (...next) => ({ id: 'r', kind: 'basic', children: { next } })
const [yes, no] = [[hold('q', 'QQQ')], [hold('t', 'TLT')]]

// beside has two subtrees that are merged when they are the same to the server.
const beside = (a, b) => gate('g', [rsi('x', 'lt', 45)], a, gate('h', [rsi('y', 'gt', 40, { type: 'and' })], b, hold('e', 'BIL')))
const inner = (condition) => gate('i', [condition], hold('a', 'QQQ'), hold('b', 'TLT'))
const plain = rsi('c', 'lt', 50)
const reversed = Object.fromEntries(Object.entries(plain).reverse())

const different = {
  'slots of a nested node in another order': [beside(scale('s1', { then: yes, else: no }), scale('s2', { then: yes, else: no })), beside(scale('s1', { then: yes, else: no }), scale('s2', { else: no, then: yes }))],
  'fields of a condition in another order': [beside(inner(plain), inner(plain)), beside(inner(plain), inner(reversed))],
  'collapsed inside a condition': [beside(inner(plain), inner(plain)), beside(inner(plain), inner({ ...plain, collapsed: true }))],
  'other ids of conditions in one of two subtrees': [beside(inner(plain), inner(plain)), beside(inner(plain), inner({ ...plain, id: 'd' }))],
  'an id that is a name of Object.prototype': [alt('node-1'), alt('constructor')],
  '__proto__': [alt('node-1'), alt('__proto__')],
  'constructor and __proto__': [alt('constructor'), alt('__proto__')],
  'no id beside one called unknown': [all(alt(), alt('unknown')), all(alt(), alt('other'))],
  'an id that is an array': [all(alt('a,b'), alt(['a', 'b'])), all(alt('c,d'), alt(['a', 'b']))],
}
const same = {
  'title of the root': [{ ...all(...yes), title: 'A' }, { ...all(...yes), title: 'A (Copy)' }],
  'fresh ids everywhere': [beside(inner(plain), inner(plain)), JSON.parse(JSON.stringify(beside(inner(plain), inner(plain))).replace(/"id":"/g, '"id":"n-'))],
  'fresh ids of alt exits': [all(alt('one'), alt('two')), all(alt('three'), alt('four'))],
  'collapsed on a node': [all(...yes), all({ ...yes[0], collapsed: true })],
  'fields that the engine never reads': [all(...yes), { ...all(...yes), weightingThen: 'equal', conditionLogic: 'and', rollingWindow: 5, rankBy: 'x' }],
  'slots of a node that nothing is merged with, in another order': [scale('s', { then: yes, else: no }), scale('s', { else: no, then: yes })],
}

test('the engine tells apart what the real one does, and an oracle with it', async () => {
  const s = await start(small)
  for (const [pairs, isSame] of [[different, false], [same, true]]) {
    for (const [name, trees] of Object.entries(pairs)) {
      const curves = []
      for (const tree of trees) {
        const { json, text } = await s.call('POST', '/api/backtest', { payload: JSON.stringify(tree), mode: 'CC', costBps: 5 })
        assert.ok(json?.equityCurve, `${name}: ${text}`)
        curves.push(JSON.stringify([json.equityCurve, json.allocations]))
      }
      assert.equal(curves[0] === curves[1], isSame, name)
      assert.equal(meaning(trees[0]) === meaning(trees[1]), isSame, `${name}, to the oracle`)
    }
  }
})

test('a merge is told', async () => {
  const s = await start(small)
  const { compression } = (await s.call('POST', '/api/backtest', { payload: different['slots of a nested node in another order'][0] })).json
  assert.deepEqual([compression.originalNodes, compression.compressedNodes, compression.gatesMerged], [9, 5, 1])
  assert.equal((await s.call('POST', '/api/backtest', { payload: holding('SPY') })).json.compression.gatesMerged, 0)
})
