// Indicators by their usual definitions (details, section 8). Each takes the whole history of values up
// to today and gives the newest value, null before it is defined.

const mean = (xs) => xs.reduce((a, b) => a + b, 0) / xs.length
const last = (xs, n) => (xs.length >= n ? xs.slice(-n) : null)
const changes = (xs) => xs.slice(1).map((x, i) => x / xs[i] - 1)
const logChanges = (xs) => xs.slice(1).map((x, i) => Math.log(x / xs[i]))
const population = (xs) => {
  const m = mean(xs)
  return Math.sqrt(mean(xs.map((x) => (x - m) ** 2)))
}

export function ema(xs, n) {
  if (xs.length < n) return null
  let value = mean(xs.slice(0, n))
  for (let i = n; i < xs.length; i++) value += (2 / (n + 1)) * (xs[i] - value)
  return value
}

export function rsi(xs, n) {
  if (xs.length <= n) return null
  let gain = 0
  let loss = 0
  for (let i = 1; i <= n; i++) {
    const d = xs[i] - xs[i - 1]
    if (d > 0) gain += d / n
    else loss -= d / n
  }
  for (let i = n + 1; i < xs.length; i++) {
    const d = xs[i] - xs[i - 1]
    gain = (gain * (n - 1) + Math.max(d, 0)) / n
    loss = (loss * (n - 1) + Math.max(-d, 0)) / n
  }
  return loss === 0 ? 100 : 100 - 100 / (1 + gain / loss)
}

function maxDrawdown(xs) {
  let peak = -Infinity
  let worst = 0
  for (const x of xs) {
    peak = Math.max(peak, x)
    worst = Math.max(worst, 1 - x / peak)
  }
  return worst
}

const windowed = (f, extra = 0) => (xs, n) => {
  const w = last(xs, n + extra)
  return w && f(w)
}

export const indicators = {
  'Current Price': (xs) => xs.at(-1) ?? null,
  'Simple Moving Average': windowed(mean),
  'Exponential Moving Average': ema,
  'Relative Strength Index': rsi,
  'Standard Deviation': windowed((w) => population(changes(w)) * 100, 1),
  'Standard Deviation of Price': windowed(population),
  'Historical Volatility': windowed((w) => population(logChanges(w)) * 100 * Math.sqrt(252), 1), // of log returns, in percent (trap 20)
  'Max Drawdown': windowed(maxDrawdown),
  'Cumulative Return': windowed((w) => w.at(-1) / w[0] - 1),
  'Rate of Change': windowed((w) => (w.at(-1) / w[0] - 1) * 100, 1),
  'SMA of Returns': windowed((w) => mean(changes(w)), 1),
}

// indicator gives the value of a metric for the history (a Float64Array) up to a day. It starts from the
// first bar each time: the server keeps no intermediate results either, and that is what makes a
// backtest cost what it costs.
export function indicator(metric, history, until, window) {
  const f = indicators[metric]
  if (!f || until < 0) return null
  return f(history.subarray(0, until + 1), Math.max(1, Math.floor(window || 1)))
}
