// What tests see and steer: every request that arrives is counted and remembered, and answers can be
// replaced before the routes see the request.
import crypto from 'node:crypto'
import express from 'express'

const patterns = [
  [/^\/api\/bots\/[^/]+$/i, '/api/bots/:id'], [/^\/api\/bots\/[^/]+\/([^/]+)$/i, '/api/bots/:id/$1'],
  [/^\/api\/candles\/(?!batch$)[^/]+$/i, '/api/candles/:ticker'], [/^\/api\/download\/[^/]+$/i, '/api/download/:jobId'],
]

export class Recorder {
  constructor() {
    this.reset()
  }

  reset() {
    this.routes = {}
    this.requests = []
    this.total = 0
    this.backtests = 0
    this.overrides = []
    this.aborted = 0
  }

  // middleware taps the body on its way to whoever reads it.
  middleware() {
    return (req, res, next) => {
      const path = req.url.split('?')[0]
      if (path.startsWith('/__test')) return next()
      const [, pattern] = patterns.find(([p]) => p.test(path)) ?? [null, path]
      const route = `${req.method} ${pattern.includes('$1') ? path.replace(patterns[1][0], '/api/bots/:id/$1') : pattern}`
      this.routes[route] = (this.routes[route] ?? 0) + 1
      this.total++
      const entry = { method: req.method, url: req.originalUrl, rawHeaders: req.rawHeaders, bodySha256: '', bodyLength: 0 }
      this.requests.push(entry)
      if (this.requests.length > 200) this.requests.shift()
      const hash = crypto.createHash('sha256')
      const push = req.push.bind(req)
      req.push = (chunk, encoding) => {
        if (chunk) {
          hash.update(chunk)
          entry.bodyLength += chunk.length
        } else {
          entry.bodySha256 = hash.digest('hex')
        }
        return push(chunk, encoding)
      }
      res.on('close', () => { if (!res.writableFinished) this.aborted++ })
      const override = this.overrides.find((o) => o.times > 0 && (!o.method || o.method === req.method) && path.startsWith(o.path))
      if (!override) return next()
      override.times--
      this.apply(override, req, res, next)
    }
  }

  apply(o, req, res, next) {
    const go = () => {
      if (o.hang) return
      if (o.answerDelayMs) { // applied at once, answered late
        const end = res.end.bind(res)
        res.end = (...args) => { setTimeout(() => end(...args), o.answerDelayMs); return res }
      }
      if (o.addHeaders) {
        for (const [name, value] of Object.entries(o.addHeaders)) res.setHeader(name, value)
      }
      if (o.status === undefined && o.body === undefined && o.bodyBase64 === undefined && o.breakAfter === undefined) return next()
      const body = o.bodyBase64 !== undefined ? Buffer.from(o.bodyBase64, 'base64') : Buffer.from(o.body ?? '')
      res.writeHead(o.status ?? 200, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': body.length, ...o.headers })
      if (o.breakAfter === undefined) return res.end(body)
      res.write(body.subarray(0, o.breakAfter), () => setTimeout(() => res.destroy(), 20))
    }
    // The body is taken in first, as a handler would, so that it is recorded and the connection stays usable.
    if (o.status !== undefined || o.body !== undefined || o.hang) {
      req.resume()
      req.on('end', () => (o.delayMs ? setTimeout(go, o.delayMs) : go()))
    } else if (o.delayMs) setTimeout(go, o.delayMs)
    else go()
  }

  // router is /__test: never counted, never overridden.
  router({ store, sync, prices, market, oracle, fresh }) {
    const r = express.Router()
    r.use(express.json({ limit: '50mb' }))
    r.get('/counts', (_, res) => res.json({ total: this.total, routes: this.routes, backtests: this.backtests, aborted: this.aborted }))
    r.get('/requests', (_, res) => res.json({ requests: this.requests }))
    r.post('/reset', (_, res) => { this.reset(); store.reset(); res.json({ success: true }) })
    r.post('/answers', (req, res) => { this.overrides.push({ path: '/', ...req.body, times: req.body.times ?? 1 }); res.json({ success: true }) })
    r.delete('/answers', (_, res) => { this.overrides = []; res.json({ success: true }) })
    r.post('/sync', (req, res) => {
      const started = sync.start({ mode: req.body.mode, durationMs: req.body.durationMs })
      res.status(started ? 202 : 409).json({ started })
    })
    // What a restart does to the server's memory, without the restart.
    r.post('/restart', async (_, res) => { await market.restart(); res.json({ success: true }) })
    r.post('/check', (req, res) => res.json({ verdicts: req.body.asks.map((ask) => oracle.check(ask)) }))
    r.get('/state', (_, res) => res.json({ version: store.log.length, syncing: sync.running, files: prices.generation, log: store.log.slice(-1000) }))
    r.post('/fresh', async (req, res) => {
      try { res.json(await fresh(req.body)) } catch (e) { res.status(e.status ?? 500).json({ error: e.message }) }
    })
    return r
  }
}
