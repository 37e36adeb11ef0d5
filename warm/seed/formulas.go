package seed

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"
)

// The formulas are written out because no library for Go gives the contract's definitions. go-talib has
// the RSI of a price that stands still at 0, sums its moving averages in one running sum that never
// forgets a rounding error, and takes variances as E[x²]-E[x]², which cancels; all of them have zeros
// where a value is undefined.

// A formula gives a series as long as prices, NaN where it is undefined.
type formula func(prices []float64, n int) []float64

// formulaOf knows a metric by the long names in use and by those of the server's own job. A windowless
// one is the same for every period.
func formulaOf(metric string) (f formula, windowless, ok bool) {
	switch metric {
	case "Current Price", "close", "Close":
		return price, true, true
	case "Daily Return", "Returns":
		return dailyReturn, true, true
	case "Simple Moving Average", "SMA":
		return sma, false, true
	case "Exponential Moving Average", "EMA":
		return ema, false, true
	case "Relative Strength Index", "RSI":
		return rsi, false, true
	case "Volatility":
		return volatility, false, true
	case "Historical Volatility":
		return historicalVolatility, false, true
	}
	return nil, false, false
}

func price(prices []float64, _ int) []float64 { return prices }

// dailyReturn is P[i]/P[i-1] - 1.
func dailyReturn(prices []float64, _ int) []float64 {
	out := undefined(len(prices))
	for i := 1; i < len(prices); i++ {
		out[i] = finite(prices[i]/prices[i-1] - 1)
	}
	return out
}

// sma is the mean of the last n prices. Each window is summed anew: a running sum would carry its
// rounding errors, and whatever a single absurd price has swallowed, to the end of the series.
func sma(prices []float64, n int) []float64 {
	out := undefined(len(prices))
	eachRun(prices, out, func(run, out []float64) {
		for i := n; i <= len(run); i++ {
			out[i-1] = floats.Sum(run[i-n:i]) / float64(n)
		}
	})
	return out
}

// ema is E[i] = E[i-1] + k(P[i] - E[i-1]) with k = 2/(n+1), seeded with the SMA of the first n prices.
func ema(prices []float64, n int) []float64 {
	out := undefined(len(prices))
	k := 2 / (float64(n) + 1)
	eachRun(prices, out, func(run, out []float64) {
		if len(run) < n {
			return
		}
		e := floats.Sum(run[:n]) / float64(n)
		out[n-1] = e
		for i := n; i < len(run); i++ {
			e += k * (run[i] - e)
			out[i] = e
		}
	})
	return out
}

// rsi is Wilder's relative strength index (J. Welles Wilder, New Concepts in Technical Trading Systems,
// 1978): the averages of gains and of losses begin as the means of the first n changes, so that the
// first value is at index n, and go on as A[i] = (A[i-1](n-1) + x[i])/n. Without losses it is 100.
func rsi(prices []float64, n int) []float64 {
	out := undefined(len(prices))
	eachRun(prices, out, func(run, out []float64) {
		var gain, loss float64
		for i := 1; i < len(run); i++ {
			change := run[i] - run[i-1]
			up, down := max(change, 0), max(-change, 0)
			switch {
			case i <= n:
				gain += up / float64(n)
				loss += down / float64(n)
			default:
				gain = (gain*float64(n-1) + up) / float64(n)
				loss = (loss*float64(n-1) + down) / float64(n)
			}
			switch {
			case i < n:
			case loss == 0:
				out[i] = 100
			default:
				out[i] = 100 - 100/(1+gain/loss)
			}
		}
	})
	return out
}

// volatility is the population standard deviation of the last n daily returns, a year being 252 days.
func volatility(prices []float64, n int) []float64 {
	out := undefined(len(prices))
	eachRun(dailyReturn(prices, 1), out, func(run, out []float64) {
		for i := n; i <= len(run); i++ {
			out[i-1] = stat.PopStdDev(run[i-n:i], nil) * math.Sqrt(252)
		}
	})
	return out
}

// historicalVolatility is what the server's engine calls by that name: the population standard deviation of the last
// n logarithms of daily growth, in percent, a year being 252 days (contract, trap 20).
func historicalVolatility(prices []float64, n int) []float64 {
	growth := undefined(len(prices))
	for i := 1; i < len(prices); i++ {
		growth[i] = finite(math.Log(prices[i] / prices[i-1]))
	}
	out := undefined(len(prices))
	eachRun(growth, out, func(run, out []float64) {
		for i := n; i <= len(run); i++ {
			out[i-1] = stat.PopStdDev(run[i-n:i], nil) * 100 * math.Sqrt(252)
		}
	})
	return out
}

// eachRun calls do for every stretch of known values, with the same stretch of out: after a gap
// everything begins anew (details, section 8: "reset on NaN", "null until N valid").
func eachRun(values, out []float64, do func(run, out []float64)) {
	start := -1
	for i := 0; i <= len(values); i++ {
		known := i < len(values) && !math.IsNaN(values[i])
		switch {
		case known && start < 0:
			start = i
		case !known && start >= 0:
			do(values[start:i], out[start:i])
			start = -1
		}
	}
}

func undefined(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

func finite(f float64) float64 {
	if math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

// prices is the series that every indicator is computed from: `adjClose || close` (contract), where a
// null and a zero are both passed over.
func (b *bars) prices() []float64 {
	out := make([]float64, len(b.days))
	for i, p := range b.adjusted {
		if p == 0 || math.IsNaN(p) {
			p = b.close[i]
		}
		out[i] = finite(p)
	}
	return out
}
