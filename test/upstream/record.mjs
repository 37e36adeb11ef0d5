// What tests see and steer: every request that arrives is counted and remembered, and answers can be
// replaced before the routes see the request.
import crypto from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { settings } from './settings.mjs'

const patterns = [
  [/^\/api\/bots\/[^/]+$/i, '/api/bots/:id'], [/^\/api\/bots\/[^/]+\/([^/]+)$/i, '/api/bots/:id/$1'],
  [/^\/api\/candles\/(?!batch$)[^/]+$/i, '/api/candles/:ticker'], [/^\/api\/download\/[^/]+$/i, '/api/download/:jobId'],
]

export class Recorder {
  constructor() {
    this.sockets = new Set() // of all who are connected
    this.reset()
  }

  connected(socket) {
    this.sockets.add(socket)
    if (socket.known) return
    socket.known = true
    socket.on('close', () => this.sockets.delete(socket))
  }

  reset() {
    this.routes = {}
    this.requests = []
    this.total = 0
    this.backtests = 0
    this.overrides = []
    this.aborted = 0
    this.cpuMs = settings.backtestCpuMs
  }

  // middleware taps the body on its way to whoever reads it.
  middleware() {
    return (req, res, next) => {
      const path = req.url.split('?')[0]
      if (path.startsWith('/__test')) return next()
      this.connected(req.socket)
      const [, pattern] = patterns.find(([p]) => p.test(path)) ?? [null, path]
      const route = `${req.method} ${pattern.includes('$1') ? path.replace(patterns[1][0], '/api/bots/:id/$1') : pattern}`
      this.routes[route] = (this.routes[route] ?? 0) + 1
      this.total++
      const entry = { method: req.method, url: req.originalUrl, rawHeaders: req.rawHeaders, bodySha256: '', bodyLength: 0 }
      this.requests.push(entry)
      if (this.requests.length > 5000) this.requests.shift()
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

  // computes counts a backtest, and has it hold the server's one thread.
  computes() {
    this.backtests++
    hold(this.cpuMs)
  }
}

// hold keeps the thread for so long: nobody is answered meanwhile.
export function hold(ms) {
  for (const until = performance.now() + ms; performance.now() < until;);
}
