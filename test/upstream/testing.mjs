// Servers for the stand-in's own tests, each a process of its own.
import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

const running = []
const scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'upstream-'))

after(async () => {
  for (const p of running) p.kill('SIGTERM')
  await fs.rm(scratch, { recursive: true })
})

// small is a market in which everything takes milliseconds.
export const small = { HISTORY_DAYS: '300', TICKERS: 'A,BIL,QQQ,SPY,TLT,XOM' }

export const holding = (...positions) => JSON.stringify({ id: 'r', kind: 'basic', children: { next: [{ id: 'p', kind: 'position', positions }] } })

export async function start(env = {}) {
  const dir = await fs.mkdtemp(path.join(scratch, 'server-'))
  const p = spawn(process.execPath, [path.join(import.meta.dirname, 'server.mjs')], {
    env: { ...process.env, PORT: '0', DATA_DIR: dir, DATA_DATE_MEMORY_MS: '1', ...env }, stdio: ['ignore', 'pipe', 'ignore'],
  })
  running.push(p)
  const url = await new Promise((resolve, reject) => {
    p.stdout.on('data', (d) => { const m = /http:\S+/.exec(d); if (m) resolve(m[0]) })
    p.on('exit', (code) => reject(new Error(`the server ended with ${code}`)))
  })
  const call = async (method, target, body, headers = {}) => {
    const from = Date.now()
    const sent = typeof body === 'string' ? body : body && JSON.stringify(body)
    const res = await fetch(url + target, { method, headers: { 'Content-Type': 'application/json', ...headers }, body: sent })
    const text = await res.text()
    let json = null
    try { json = JSON.parse(text) } catch {}
    const sha = crypto.createHash('sha256').update(text).digest('hex')
    return { method, path: target, body, status: res.status, headers: res.headers, text, json, sha, from, to: Date.now() }
  }
  const token = async (email = 'admin@example.com', password = 'admin-password') =>
    ({ Authorization: `Bearer ${(await call('POST', '/api/auth/login', { email, password })).json.accessToken}` })
  const synced = async (mode, more = {}) => {
    await call('POST', '/__test/sync', { mode, durationMs: 100, ...more })
    for (let i = 0; i < 400 && (await call('GET', '/__test/state')).json.syncing; i++) await sleep(20)
  }
  const invalidated = async () => call('POST', '/api/admin/cache/invalidate', {}, await token())
  const flushed = async () => {
    for (let i = 0; i < 50; i++) await call('POST', '/api/backtest', { payload: `{"id":"p","kind":"position","positions":["ZZ${i}"]}`, benchmarkTicker: `ZZ${i}` })
  }
  return { url, call, token, synced, invalidated, flushed, run: (body = {}, id = 'bot-7') => call('POST', `/api/bots/${id}/run-backtest`, body) }
}
