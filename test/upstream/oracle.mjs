// Would the server have given this answer at some moment between the request's arrival and its answer,
// asked directly (with what it had in its caches then) or made to compute afresh (from the files as they
// were then)? An answer is recognised by its bytes, and judged by what it was made of.
import { dateOf } from './backtest.mjs'
import { meaning } from './compress.mjs'
import { savedOf, textOf } from './history.mjs'
import { parsePayload } from './compute.mjs'
import { settings } from './settings.mjs'

const upper = (t) => String(t).trim().toUpperCase()
const shown = (x) => JSON.stringify(x)

export class Oracle {
  constructor(history, compute) {
    Object.assign(this, { history, compute, checked: 0 })
  }

  // check judges an answer. Besides the request (method, path, body) and the answer (status, sha256 of
  // the body) it is told the moments (ms) from and to between which the answer had to be right, and what is
  // allowed: late (ms) for a change of the data that nobody announced, grace for all data, botLate
  // for a bot, away for what was cleared while a replica had to do without Redis, fresh when only a fresh computation will do, lasting when it will be kept for long.
  check(ask) {
    this.checked++
    const q = { grace: 0, late: 0, botLate: 0, away: 0, canary: 'SPY', ...ask }
    const want = this.wanted(q)
    if (q.status === 404) return this.checkGone(q, want)
    const numbers = [...(this.history.given.get(q.sha) ?? [])]
    if (!numbers.length) return { ok: false, why: ['the server never gave these bytes'], want }
    const why = []
    for (const number of numbers) {
      const reason = this.refusal(q, want, number)
      if (!reason) return { ok: true }
      why.push(`${reason} — ${shown(this.explained(number, q))}`)
    }
    why.sort((a, b) => Number(/, not /.test(a)) - Number(/, not /.test(b))) // what is nearest first
    return { ok: false, why, want: { ...want, ...this.state(q, want) } }
  }

  // checkGone judges that a bot is said not to exist.
  checkGone(q, want) {
    const id = want.bot
    const versions = this.history.bots.get(id)?.within(q.from - q.botLate, q.to) ?? []
    if (!id || versions.length === 0 || versions.some((v) => !v.live)) return { ok: true }
    return { ok: false, why: [`${id} was there all the time`], want }
  }

  // wanted is what a request asks for, in the words that history has for what was made.
  wanted({ method, path, body = {} }) {
    const url = new URL(path, 'http://x')
    const query = Object.fromEntries(url.searchParams)
    const bot = url.pathname.match(/^\/api\/bots\/([^/]+)\/(run-backtest|sanity-report)$/)
    const benchmark = body.benchmarkTicker ?? 'SPY'
    const dates = { startDate: body.startDate ?? null, endDate: body.endDate ?? null }
    const run = { mode: body.mode ?? 'CC', costBps: body.costBps ?? 5, benchmark }
    const options = () => this.compute.sanityOptions(body)
    if (bot?.[2] === 'run-backtest') {
      return { kind: 'backtest', bot: decodeURIComponent(bot[1]), ...run, rows: body.forceRefresh !== true }
    }
    if (bot) return { kind: 'sanity', bot: decodeURIComponent(bot[1]), ...options(), ...dates, rows: true }
    const strategy = () => meaning(parsePayload(body.payload))
    const { metric = 'correlation', period = 'full' } = body
    switch (`${method} ${url.pathname}`) {
      case 'POST /api/backtest': return { kind: 'backtest', strategy: strategy(), ...run }
      case 'POST /api/sanity-report': return { kind: 'sanity', strategy: strategy(), ...run, ...options(), ...dates }
      case 'POST /api/correlation/optimize': return { kind: 'optimize', metric, period, maxWeight: body.maxWeight ?? 0.4, botIds: body.botIds }
      case 'POST /api/correlation/recommend':
        return { kind: 'recommend', metric, period, limit: body.limit ?? 3, current: body.currentBotIds ?? [], candidates: body.candidateBotIds }
      case 'POST /api/indicator-series': return { kind: 'indicators', conditions: textOf(body.conditions), mode: body.mode ?? 'OC' }
      case 'POST /api/candles/batch': return { kind: 'batch', names: body.tickers.map(upper).toSorted().join(), limit: this.compute.clamp(body.limit) }
      case 'GET /api/benchmarks/metrics':
        return { kind: 'benchmarks', names: query.tickers.split(',').map(upper).toSorted().join(), startDate: query.startDate ?? null, endDate: query.endDate ?? null }
    }
    const candles = url.pathname.match(/^\/api\/candles\/([^/]+)$/)
    return { kind: 'candles', ticker: upper(decodeURIComponent(candles[1])), limit: this.compute.clamp(query.limit) }
  }

  // refusal is why what was made under the number is no answer to what is wanted, null when it is one.
  refusal(q, want, number) {
    const made = this.history.made[number]
    if (made.kind !== want.kind) return `a ${made.kind}, not a ${want.kind}`
    if (q.lasting) {
      const behind = this.behind(q, made)
      if (behind) return behind
    }
    const why = want.bot ? this.botRefusal(q, want, made) : this.sameFields(want, made) ?? this.dataRefusal(q, made)
    if (why && want.rows && !q.fresh && this.hasRow(q, want, number)) return null
    return why
  }

  sameFields(want, made) {
    const { botIds, current, candidates, bot, rows, ...fields } = want
    for (const [name, value] of Object.entries(fields)) {
      if (made[name] !== value) return `${name} ${shown(made[name])}, not ${shown(value)}`
    }
    return null
  }

  botRefusal(q, want, made) {
    const versions = this.liveVersions(q, want.bot)
    const asked = want.kind === 'sanity' ? (v) => ({ ...want, mode: v.mode, costBps: v.costBps }) : () => want
    const reasons = versions.map((v) => (v.strategy === made.strategy ? this.sameFields(asked(v), made) : 'another strategy than the saved'))
    if (!versions.length) return `${want.bot} was not there`
    return reasons.includes(null) ? this.dataRefusal(q, made) : reasons.at(-1)
  }

  liveVersions(q, id) {
    return (this.history.bots.get(id)?.within(q.from - q.botLate, q.to) ?? []).filter((v) => v.live)
  }

  // hasRow reports whether the server had this answer in its cache, for the request: its key forgets much (trap 6).
  hasRow(q, want, number, kind = want.kind) {
    return (this.history.rows.get(`${kind} ${want.bot}`)?.within(q.from, q.to, (r) => r.to + q.grace) ?? []).some((r) =>
      r.number === number && this.isDate(q, r.dataDate) && this.liveVersions(q, want.bot).some((v) =>
        r.hash === this.compute.store.hash(v, want.mode ?? v.mode, want.costBps ?? v.costBps)))
  }

  // dataRefusal looks at the bars that an answer was made of, and at the parts of a correlation.
  dataRefusal(q, made) {
    if (made.kind === 'optimize') return this.partsRefusal(q, made, this.wanted(q).botIds, made.parts)
    if (made.kind === 'recommend') {
      const want = this.wanted(q)
      return this.partsRefusal(q, made, want.current, made.current) ?? this.partsRefusal(q, made, want.candidates, made.candidates)
    }
    if (made.kind === 'benchmarks' && !this.isDate(q, made.dataDate)) return `the data date ${shown(made.dataDate)}`
    if (made.database && !q.fresh && this.inDatabase(q, made)) return null
    for (const [ticker, id] of Object.entries(made.bars)) {
      const limit = made.kind === 'candles' || made.kind === 'batch' ? made.limit : Infinity
      if (!this.onDisk(q, made, ticker, id, limit) && (q.fresh || (!this.inMemory(q, made, ticker, id, limit) && !this.inRow(q, made, ticker, id)))) {
        return `the bars ${id} of ${ticker}, which were neither in its file${q.fresh ? '' : ' nor in memory'}`
      }
    }
    return null
  }

  isSeen(v, made, id, limit) {
    return this.history.seenAs(this.history.lastOf(v.id, limit), made.mode) === id
  }

  onDisk(q, made, ticker, id, limit) {
    const line = this.history.files.get(ticker)
    if (!line) return id === null || this.isSeen({ id: this.history.idOf([]) }, made, id, limit)
    return line.within(q.from, q.to, (v) => this.until(q, v))
      .some((v) => this.isSeen(v, made, id, limit))
  }

  // until is how long a file's old content may still be answered from: nobody tells of a sync in the
  // server's own scheduler, and its first sign may be that of another file.
  until(q, version) {
    const { to, sync } = version
    if (!sync || to === Infinity) return to + q.grace
    if (sync.announced && !q.away) return to + q.grace + (q.collapsed ? q.late : 0)
    const sign = q.admin ? sync.at : this.history.files.get(q.canary).items.find((v) => v.sync === sync)?.to ?? Infinity
    return Math.max(to, sign) + q.late + q.grace
  }

  inMemory(q, made, ticker, id, limit) {
    const map = { benchmarks: 'tables', batch: 'batch' }[made.kind] ?? 'memory'
    if (made.kind === 'candles') return false
    const until = (v) => v.to + Math.max(q.grace, q.away) + (q.collapsed || v.unannounced ? q.late : 0)
    return (this.history[map].get(ticker)?.within(q.from, q.to, until) ?? []).some((v) => this.isSeen(v, made, id, limit))
  }

  // inDatabase reports whether the server had a database of exactly these bars built for such a strategy.
  inDatabase(q, made) {
    const until = (v) => v.to + q.grace + (q.collapsed || v.unannounced ? q.late : 0)
    return (this.history.databases.get(made.database)?.within(q.from, q.to, until) ?? [])
      .some((v) => Object.entries(made.bars).every(([t, id]) => this.history.seenAs(v.bars[t], made.mode) === id))
  }

  // inRow reports whether the server had this of a benchmark in its row for the data date.
  inRow(q, made, ticker, id) {
    if (made.kind !== 'benchmarks' || made.startDate || made.endDate) return false
    return (this.history.rows.get(`benchmarks ${ticker}`)?.within(q.from, q.to, (r) => r.to + q.grace) ?? []).some((r) => r.number === id && this.isDate(q, r.dataDate))
  }

  // isDate reports whether the server could take this text for its data date.
  isDate(q, text) {
    const from = q.from - settings.dataDateMemoryMs - q.late - q.grace
    if (this.history.dates.some((d) => d.text === text && d.from <= q.to && d.to >= from)) return true
    const [first] = [...this.history.files.keys()].sort()
    return this.history.files.get(first).within(from, q.to, (v) => this.until(q, v)).some((v) => {
      const newest = new Date((this.history.contents.get(v.id)?.at(-1).time ?? Date.now() / 1000) * 1000)
      return text === String(newest).split('T')[0] || text === newest.toISOString().slice(0, 10)
    })
  }

  partsRefusal(q, made, ids, parts) {
    for (const id of ids) {
      const part = parts.find((p) => p.id === id)
      const versions = this.history.bots.get(id)?.within(q.from - q.botLate, q.to) ?? [{ live: false }]
      if (!part) {
        if (versions.every((v) => v.live)) return `without ${id}, which was there all the time`
        continue
      }
      const run = this.history.made[part.number]
      const same = versions.some((v) => v.live && v.strategy === run.strategy && v.mode === run.mode && v.costBps === run.costBps)
      const row = !q.fresh && this.hasRow(q, { bot: id }, part.number, 'backtest')
      if (!same && !row) return `${id} with another strategy, mode or costs than the saved`
      const why = row ? null : this.dataRefusal(q, run)
      if (why) return `${id} with ${why}`
      if (!this.isSaved(q, made, part)) return `${id} with the metrics ${shown(part.saved)}, which were not the saved ones`
    }
    return parts.map((p) => p.id).join() === ids.filter((id) => parts.some((p) => p.id === id)).join() ? null : 'other bots, or in another order'
  }

  // isSaved reports whether the metrics that the answer shows or uses were the saved ones.
  isSaved(q, { kind, metric }, part) {
    const used = kind === 'recommend' ? ['cagr', 'sharpe'] : [metric].filter((m) => m in part.saved)
    const line = this.history.metrics.get(part.id)
    const before = { from: 0, to: line?.items[0]?.from ?? Infinity, saved: savedOf(null) }
    return [before, ...(line?.items ?? [])].some((v) =>
      v.from <= q.to && v.to >= q.from - q.botLate && used.every((name) => v.saved[name] === part.saved[name]))
  }

  // behind is how an answer that is kept for long shows that it ends before the data does.
  behind(q, made) {
    const bars = made.kind === 'candles' && this.history.contents.get(Object.values(made.bars)[0])
    const last = bars ? dateOf(bars.at(-1).time) : made.kind === 'backtest' && made.last
    if (!last) return null
    const dates = this.history.files.get(q.canary).within(q.from - q.late, q.to, (v) => this.until(q, v)).map((v) => this.history.contents.get(v.id)?.at(-1).time).filter(Boolean).map(dateOf)
    const oldest = dates.sort()[0]
    return last < oldest ? `kept for long, though it ends on ${last} and the data on ${oldest}` : null
  }

  // explained and state are for a failure's message.
  explained(number, q) {
    const { conditions, parts, ...made } = this.history.made[number]
    return { number, ...made, ageMs: Math.round(q.from - made.at), parts: parts?.map((p) => ({ ...p, run: this.history.made[p.number] })) }
  }

  state(q, want) {
    const ago = (v) => ({ endedMsBefore: v.to === Infinity ? undefined : q.from - v.to, beganMsBefore: q.from - v.from })
    const ids = want.bot ? [want.bot] : want.botIds ?? [...(want.current ?? []), ...(want.candidates ?? [])]
    const last = (line, show) => (line?.items ?? []).slice(-4).map((v) => ({ ...show(v), ...ago(v) }))
    return {
      bots: Object.fromEntries(ids.map((id) => [id, last(this.history.bots.get(id), (v) => ({ live: v.live, strategy: v.strategy }))])),
      saved: want.kind === 'optimize' || want.kind === 'recommend'
        ? Object.fromEntries(ids.map((id) => [id, last(this.history.metrics.get(id), (v) => v.saved)])) : undefined,
      rows: want.bot && last(this.history.rows.get(`${want.kind} ${want.bot}`), (v) => ({ number: v.number, dataDate: v.dataDate })),
      files: Object.fromEntries([...this.history.files].map(([t, line]) => [t, last(line, (v) => ({ id: v.id, torn: v.torn }))])),
      memory: Object.fromEntries([...this.history.memory].map(([t, line]) => [t, last(line, (v) => ({ id: v.id }))])),
    }
  }
}
