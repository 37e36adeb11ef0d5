// What Warmfront must only pass through: streams, uploads, downloads, orders, an echo.
import crypto from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocketServer } from 'ws'

// pattern gives deterministic bytes of a large download from an offset.
function pattern(from, length) {
  const b = Buffer.alloc(length)
  for (let i = 0; i < length; i++) b[i] = ((from + i) * 31 + ((from + i) >> 8)) & 0xff
  return b
}

// rawRoutes come before the JSON parser: they read their bodies themselves.
export function rawRoutes(app) {
  app.post('/upload', (req, res) => {
    const hash = crypto.createHash('sha256')
    let bytes = 0
    req.on('data', (c) => { hash.update(c); bytes += c.length })
    req.on('end', () => res.json({ bytes, sha256: hash.digest('hex') }))
  })
  app.all(/^\/echo(\/|$)/, (req, res) => {
    const hash = crypto.createHash('sha256')
    let bytes = 0
    req.on('data', (c) => { hash.update(c); bytes += c.length })
    req.on('end', () => res.json({
      method: req.method, url: req.originalUrl, rawHeaders: req.rawHeaders, ip: req.ip, protocol: req.protocol,
      bodyLength: bytes, bodySha256: hash.digest('hex'), trailers: req.trailers,
    }))
  })
  app.get('/events', async (req, res) => {
    res.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' })
    res.flushHeaders()
    for (let i = 0; i < Number(req.query.n || 5) && !res.destroyed; i++) {
      res.write(`id: ${i}\ndata: ${JSON.stringify({ i, at: Date.now() })}\n\n`)
      res.flush?.()
      await sleep(Number(req.query.ms || 100))
    }
    res.end()
  })
  app.get('/trailers', (_, res) => {
    res.writeHead(200, { 'Content-Type': 'text/plain', Trailer: 'X-Checksum' })
    res.write('body with a trailer')
    res.addTrailers({ 'X-Checksum': 'abc123' })
    res.end()
  })
  app.get('/download-large', async (req, res) => {
    const total = Number(req.query.bytes || 50 * 2 ** 20)
    const range = /^bytes=(\d+)-(\d*)$/.exec(req.get('Range') ?? '')
    const from = range ? Number(range[1]) : 0
    const to = range && range[2] ? Math.min(Number(range[2]), total - 1) : total - 1
    res.writeHead(range ? 206 : 200, {
      'Content-Type': 'application/octet-stream', 'Content-Length': to - from + 1, 'Accept-Ranges': 'bytes', ETag: `"large-${total}"`,
      ...(range ? { 'Content-Range': `bytes ${from}-${to}/${total}` } : {}),
    })
    for (let at = from; at <= to && !res.destroyed; at += 65_536) {
      if (!res.write(pattern(at, Math.min(65_536, to - at + 1)))) await new Promise((r) => { res.once('drain', r); res.once('close', r) })
    }
    res.end()
  })
}

export function otherRoutes(app) {
  let orders = 0
  app.post('/api/live/orders', (req, res) => res.status(201).json({ order: ++orders, ...req.body }))
  app.get('/api/live/orders', (_, res) => res.json({ orders }))
  app.get('/api/status', (_, res) => res.json({ status: 'ok' }))
  app.get('/api/changelog', (_, res) => res.json({ entries: [] }))
}

export function websocket(server) {
  const wss = new WebSocketServer({ server, path: '/ws' })
  wss.on('connection', (socket) => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })))
  return wss
}
