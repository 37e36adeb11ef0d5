// Who may see what, in the ways that a later version of the server could go about it. Which one is in force can be
// changed while it runs: a server that becomes protected. Prices are protected only where that is asked for.
import { verified } from './auth.mjs'
import { users } from './seed.mjs'
import { settings } from './settings.mjs'

export const styles = [
  'open', // today's: nobody is asked who they are
  'token', // a bearer token on every bot and backtest route; private bots are their owner's, 403 for others
  'post', // a token is asked for on POST only, and after the bot was looked up: 404 for an unknown one
  'malformed', // as token, but an id that is none is answered 400 before anybody looks
  'hidden', // as token, but what isn't the caller's is 404, to nobody in particular too
  'api-key', // callers are known by X-API-Key: key-user-a, key-user-b, key-admin
  'address', // callers are known by their address: 10.0.0.1 is user-a, 10.0.0.2 user-b; this machine may do all
]

const nobody = (status, error) => Object.assign(new Error(error), { status })
const byId = (id) => users.find((u) => u.id === id)

const callers = {
  'api-key': (req) => byId(/^key-(.+)$/.exec(req.get('X-API-Key') ?? '')?.[1]),
  address: (req) => ({ '10.0.0.1': byId('user-a'), '10.0.0.2': byId('user-b'), '127.0.0.1': byId('admin'), '::1': byId('admin') })[req.ip],
  token: (req) => verified(req.get('Authorization')),
}

export class Access {
  constructor(store) {
    Object.assign(this, { store, style: settings.access, prices: settings.accessPrices })
    this.set({ style: settings.access })
  }

  set({ style = this.style, prices = this.prices }) {
    if (!styles.includes(style)) throw new Error(`no way of access ${style}; there are ${styles.join(', ')}`)
    Object.assign(this, { style, prices })
  }

  // guard lets through who may see bots and what is computed of them.
  guard() {
    return (req, res, next) => {
      try {
        if (this.style !== 'open') this.judge(req)
        next()
      } catch (e) {
        res.status(e.status ?? 500).json({ error: e.message })
      }
    }
  }

  // pricesGuard stands before candles and benchmarks.
  pricesGuard() {
    return (req, res, next) => (this.style === 'open' || !this.prices || this.caller(req) ? next() : res.status(401).json({ error: 'Authentication required' }))
  }

  caller(req) {
    try {
      return (callers[this.style] ?? callers.token)(req)
    } catch { /* a token that is none */ }
  }

  judge(req) {
    const { id } = req.params
    const bot = id && this.store.bot(id, true)
    if (this.style === 'post' && (req.method === 'GET' || (id && !bot))) return // 404 comes from the route itself
    if (this.style === 'malformed' && id && !bot && !/^(bot|oracle)-[\da-f-]+$/.test(id)) throw nobody(400, 'Malformed bot id')
    const caller = this.caller(req)
    const mine = bot && (bot.visibility !== 'private' || bot.ownerId === caller?.id || caller?.role === 'main_admin')
    if (this.style === 'hidden' && id && !(caller && mine)) throw nobody(404, 'Bot not found')
    if (!caller) throw nobody(this.style === 'address' ? 403 : 401, this.style === 'address' ? 'Unknown address' : 'Authentication required')
    if (bot && !mine) throw nobody(403, 'Forbidden')
    const named = [...(req.body?.botIds ?? []), ...(req.body?.currentBotIds ?? []), ...(req.body?.candidateBotIds ?? [])]
    if (named.some((name) => this.isOthers(name, caller))) throw nobody(this.style === 'hidden' ? 404 : 403, 'Forbidden')
  }

  isOthers(id, caller) {
    const bot = this.store.bot(id, true)
    return bot?.visibility === 'private' && bot.ownerId !== caller.id && caller.role !== 'main_admin'
  }
}
