// The server as it was: bots, metrics and files of a moment that history remembers, and no caches.
import { Compute } from './compute.mjs'
import { PriceDatabases } from './databases.mjs'
import { Store } from './store.mjs'

const at = (line, moment) => line?.items.find((v) => v.from <= moment && v.to > moment)

// pastOf computes as the server would have, afresh, at the moment (ms).
export function pastOf(history, moment) {
  const barsOf = (t) => history.contents.get(at(history.files.get(t), moment)?.id)
  const prices = {
    has: (t) => barsOf(t) !== undefined,
    bars: async (t, limit = 20_000) => barsOf(t)?.slice(-limit) ?? [],
  }
  const store = {
    history,
    hash: Store.prototype.hash,
    row: () => null,
    bot: (id) => {
      const v = at(history.bots.get(id), moment)
      const saved = at(history.metrics.get(id), moment)?.saved
      const metrics = saved && { cagr: saved.cagr, sharpeRatio: saved.sharpe, volatility: saved.volatility, beta: saved.beta }
      return v?.live ? { id, payload: v.payload, backtestMode: v.mode, backtestCostBps: v.costBps, metrics: metrics ?? null } : null
    },
  }
  const dated = history.dates.filter((d) => d.from <= moment).at(-1)
  const market = { dataDate: async () => dated?.text ?? '' }
  return new Compute({ store, market, databases: new PriceDatabases(market, history), prices, sync: { running: false }, recorder: {} })
}
