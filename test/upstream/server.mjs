// A stand-in for the server that Warmfront stands in front of; README.md says what it can be told.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import compression from 'compression'
import cors from 'cors'
import express from 'express'
import helmet from 'helmet'
import { settings, trap } from './settings.mjs'
import { Prices, generateAll } from './prices.mjs'
import { History } from './history.mjs'
import { Oracle } from './oracle.mjs'
import { pastOf } from './past.mjs'
import { MarketMemory } from './market.mjs'
import { Store } from './store.mjs'
import { Sync } from './sync.mjs'
import { Access } from './access.mjs'
import { Compute } from './compute.mjs'
import { PriceDatabases } from './databases.mjs'
import { Recorder } from './record.mjs'
import { authRoutes } from './auth.mjs'
import { adminRoutes, botRoutes, computeRoutes } from './routes.mjs'
import { levers } from './levers.mjs'
import { otherRoutes, rawRoutes, websocket } from './extras.mjs'

const parquet = path.join(settings.dataDir, 'parquet')
fs.mkdirSync(parquet, { recursive: true })
if (settings.parquetSource && fs.existsSync(settings.parquetSource)) {
  // A copy: this server's syncs are its own.
  for (const f of fs.readdirSync(settings.parquetSource)) fs.copyFileSync(path.join(settings.parquetSource, f), path.join(parquet, f))
}
await generateAll(parquet)

const history = new History()
const prices = new Prices(parquet, history)
if (history.on) await prices.remember()
const store = new Store(path.join(settings.dataDir, 'server.db'), history)
const market = new MarketMemory(prices, history)
await market.boot()
const sync = new Sync(prices, store)
const recorder = new Recorder()
const databases = new PriceDatabases(market, history)
const compute = new Compute({ store, market, databases, prices, sync, recorder })
const access = new Access(store)

// restart is what a restart does to the server's memory, and to who is connected, without the restart.
async function restart() {
  compute.life++
  await sync.restart()
  databases.restart()
  await market.restart()
}

// listening lets nobody connect for a while, on the same port again after it.
const listening = {
  async gone(ms) {
    const { port, address } = this.server.address()
    this.server.close()
    await sleep(ms)
    await new Promise((resolve) => this.server.listen(port, address, resolve))
  },
}

const app = express()
app.set('trust proxy', 1)
const oracle = new Oracle(history, compute)
app.use('/__test', levers({ recorder, store, sync, prices, oracle, access, databases, listening, restart, fresh: (ask) => (ask.at ? pastOf(history, ask.at) : compute).fresh(ask) }))
app.use(recorder.middleware())
app.use(helmet())
app.use(cors({ origin: settings.origins, credentials: true }))
app.use(compression())
rawRoutes(app)
app.use(express.json({ limit: settings.shape === 'app' ? '1.5mb' : '50mb' }))
authRoutes(app)
otherRoutes(app)
computeRoutes(app, compute, access)
botRoutes(app, store, access)
adminRoutes(app, { store, market, sync, prices, compute })

if (trap('spa-for-unknown')) {
  app.get('*', (_, res) => res.type('html').set('Cache-Control', 'no-store').send('<!doctype html><title>QuantNexus</title><div id="root"></div>'))
}

const server = http.createServer(app)
listening.server = server
websocket(server)
server.listen(settings.port, settings.host, () => {
  console.log(`upstream listening on http://${settings.host}:${server.address().port}`)
})
process.on('SIGTERM', () => process.exit(0))
process.on('SIGINT', () => process.exit(0))
