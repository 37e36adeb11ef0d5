// The users and bots that a new stand-in has.
export const users = [
  { id: 'user-a', email: 'a@example.com', password: 'password-a', role: 'user' },
  { id: 'user-b', email: 'b@example.com', password: 'password-b', role: 'user' },
  { id: 'admin', email: 'admin@example.com', password: 'admin-password', role: 'main_admin' },
]

let serial = 0
const id = (kind) => `${kind}-seed-${++serial}`
const position = (...positions) => ({ id: id('node'), kind: 'position', title: positions.join(' '), positions, collapsed: false, bgColor: '#fff' })
const condition = (type, ticker, metric, window, comparator, threshold, right = {}) =>
  ({ id: id('cond'), type, ticker, metric, window, comparator, threshold, expanded: Boolean(right.rightTicker), ...right })

function gate(title, conditions, yes, no) {
  return { id: id('node'), kind: 'indicator', title, collapsed: false, conditions, children: { then: yes, else: no } }
}

// tree is a strategy of several indicators, different for each bot.
function tree(n) {
  const risky = ['QQQ', 'IWM', 'EEM', 'XLE', 'AAPL', 'MSFT', 'AMZN', 'DIA', 'UPRO', 'GE', 'HD', 'CAT'][n]
  const calm = ['BIL', 'AGG', 'TLT', 'BND', 'GLD', 'KO', 'PG', 'JNJ', 'PEP', 'DBC', 'TLT', 'BIL'][n]
  const above = condition('if', 'SPY', 'Current Price', 1, 'gt', 0, { rightTicker: 'SPY', rightMetric: 'Simple Moving Average', rightWindow: 150 + n })
  const inner = gate('heat', [
    condition('if', risky, 'Relative Strength Index', 10 + n, 'gt', 70),
    condition('or', risky, 'Relative Strength Index', 2, 'gt', 97),
  ], [position(calm)], [position(risky), position('SPY', risky)])
  const momentum = gate('momentum', [
    condition('if', risky, 'Exponential Moving Average', 20, 'gt', 0, { rightTicker: risky, rightMetric: 'Exponential Moving Average', rightWindow: 100 }),
    condition('and', risky, 'Relative Strength Index', 21, 'lt', 80),
  ], [inner], [position(calm)])
  return {
    id: id('node'), kind: 'basic', title: `Strategy ${n + 1}`, weighting: n % 3 === 0 ? 'defined' : 'equal', bgColor: '#eee', collapsed: false,
    children: { next: [{ ...gate('trend', [above], [momentum], [position(calm)]), window: 70 }, { ...position(calm, 'GLD'), window: 30 }] },
  }
}

export function bots() {
  serial = 0
  return Array.from({ length: 12 }, (_, n) => ({
    id: `bot-${n + 1}`, ownerId: n % 2 ? 'user-b' : 'user-a', name: `Bot ${n + 1}`,
    visibility: n < 6 ? 'nexus' : n < 10 ? 'private' : 'nexus_eligible', tags: n < 6 ? ['Nexus'] : [], fundSlot: null,
    backtestMode: ['CC', 'OO', 'CC', 'OC'][n % 4], backtestCostBps: n % 5 ? 5 : 2, payload: JSON.stringify(tree(n)),
  }))
}
