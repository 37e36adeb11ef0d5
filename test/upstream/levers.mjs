// /__test: what tests see and move. Never counted, never overridden, never protected.
import express from 'express'
import { hold } from './record.mjs'

export function levers({ recorder, store, sync, prices, oracle, access, databases, listening, restart, fresh }) {
  const r = express.Router()
  r.use((req, _, next) => { recorder.sockets.delete(req.socket); next() }) // a restart does not cut who moves levers
  r.use(express.json({ limit: '50mb' }))
  r.get('/counts', (_, res) => res.json({ total: recorder.total, routes: recorder.routes, backtests: recorder.backtests, aborted: recorder.aborted }))
  r.get('/requests', (_, res) => res.json({ requests: recorder.requests }))
  r.post('/reset', (_, res) => { recorder.reset(); store.reset(); res.json({ success: true }) })
  r.post('/answers', (req, res) => { recorder.overrides.push({ path: '/', ...req.body, times: req.body.times ?? 1 }); res.json({ success: true }) })
  r.delete('/answers', (_, res) => { recorder.overrides = []; res.json({ success: true }) })
  r.post('/sync', (req, res) => {
    const started = sync.start(req.body)
    res.status(started ? 202 : 409).json({ started })
  })
  // Every connection is cut, with what was under way on it, and for downMs nobody listens.
  r.post('/restart', async (req, res) => {
    for (const socket of recorder.sockets) socket.destroy()
    if (req.body?.downMs) await listening.gone(req.body.downMs)
    await restart()
    res.json({ success: true })
  })
  // Holds the thread for ms from now on, or for so long during each backtest; the next price database is slow to build.
  r.post('/busy', (req, res) => {
    const { ms = 0, backtestMs = recorder.cpuMs, buildMs = 0 } = req.body
    recorder.cpuMs = backtestMs
    databases.slowMs = buildMs
    res.json({ success: true })
    if (ms) res.on('finish', () => setImmediate(() => hold(ms)))
  })
  r.post('/access', (req, res) => {
    try { access.set(req.body) } catch (e) { return res.status(400).json({ error: e.message }) }
    res.json({ success: true })
  })
  r.post('/check', (req, res) => res.json({ verdicts: req.body.asks.map((ask) => oracle.check(ask)) }))
  r.get('/state', (_, res) => res.json({ version: store.log.length, syncing: sync.running, files: prices.generation, log: store.log.slice(-1000) }))
  r.post('/fresh', async (req, res) => {
    try { res.json(await fresh(req.body)) } catch (e) { res.status(e.status ?? 500).json({ error: e.message }) }
  })
  return r
}
