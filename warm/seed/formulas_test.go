package seed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The same definitions, written as slowly and as near to the textbook as can be.

func bookSMA(p []float64, i, n int) float64 {
	if i+1 < n {
		return math.NaN()
	}
	sum := 0.0
	for k := range n {
		sum += p[i-k]
	}
	return sum / float64(n)
}

func bookEMA(p []float64, i, n int) float64 {
	if i+1 <= n {
		return bookSMA(p, i, n)
	}
	k := 2 / float64(n+1)
	return p[i]*k + bookEMA(p, i-1, n)*(1-k)
}

func bookRSI(p []float64, i, n int) float64 {
	if i < n {
		return math.NaN()
	}
	gain, loss := bookAverages(p, i, n)
	if loss == 0 {
		return 100
	}
	return 100 * gain / (gain + loss)
}

func bookAverages(p []float64, i, n int) (gain, loss float64) {
	if i == n {
		for k := 1; k <= n; k++ {
			gain += math.Max(p[k]-p[k-1], 0)
			loss += math.Max(p[k-1]-p[k], 0)
		}
		return gain / float64(n), loss / float64(n)
	}
	g, l := bookAverages(p, i-1, n)
	return (g*float64(n-1) + math.Max(p[i]-p[i-1], 0)) / float64(n), (l*float64(n-1) + math.Max(p[i-1]-p[i], 0)) / float64(n)
}

func bookReturn(p []float64, i, _ int) float64 {
	if i == 0 {
		return math.NaN()
	}
	return (p[i] - p[i-1]) / p[i-1]
}

func bookVolatility(p []float64, i, n int) float64 {
	if i < n {
		return math.NaN()
	}
	mean, squares := 0.0, 0.0
	for k := range n {
		mean += bookReturn(p, i-k, 0) / float64(n)
	}
	for k := range n {
		squares += math.Pow(bookReturn(p, i-k, 0)-mean, 2) / float64(n)
	}
	return math.Sqrt(squares * 252)
}

// bookLogVolatility is that of the logarithms of growth, in percent.
func bookLogVolatility(p []float64, i, n int) float64 {
	if i < n {
		return math.NaN()
	}
	mean, squares := 0.0, 0.0
	for k := range n {
		mean += math.Log(p[i-k]/p[i-k-1]) / float64(n)
	}
	for k := range n {
		squares += math.Pow(math.Log(p[i-k]/p[i-k-1])-mean, 2) / float64(n)
	}
	return 100 * math.Sqrt(squares*252)
}

func walk(n int, seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, 7))
	p := make([]float64, n)
	at := 100.0
	for i := range p {
		at *= 1 + 0.02*random.NormFloat64()
		p[i] = math.Round(at*1e4) / 1e4
	}
	return p
}

func TestIndicatorsAreTheTextbooks(t *testing.T) {
	book := map[string]func(p []float64, i, n int) float64{
		"Simple Moving Average": bookSMA, "Exponential Moving Average": bookEMA, "Relative Strength Index": bookRSI,
		"Daily Return": bookReturn, "Volatility": bookVolatility, "Historical Volatility": bookLogVolatility,
		"Current Price": func(p []float64, i, _ int) float64 { return p[i] },
	}
	for metric, want := range book {
		compute, _, known := formulaOf(metric)
		if !known {
			t.Fatalf("%s is unknown", metric)
		}
		for _, size := range []int{0, 1, 2, 15, 700} {
			for _, n := range []int{1, 2, 14, 200, 699, 700, 701} {
				p := walk(size, uint64(n))
				got := compute(p, n)
				if len(got) != len(p) {
					t.Fatalf("%s of %d prices has %d values", metric, len(p), len(got))
				}
				for i := range got {
					near(t, fmt.Sprintf("%s(%d)[%d] of %d", metric, n, i, size), got[i], want(p, i, n))
				}
			}
		}
	}
}

// near: equal to 1e-9 of the value, and undefined together.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-9*math.Max(1, math.Abs(want)) {
		t.Fatalf("%s is %v, expected %v", what, got, want)
	}
}

func TestIndicatorsOfKnownSeriesComeOutAsComputedByHand(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		metric string
		n      int
		prices []float64
		want   []float64
	}{
		{"SMA", 3, []float64{1, 2, 3, 7}, []float64{nan, nan, 2, 4}},
		{"EMA", 3, []float64{1, 2, 3, 6, 2}, []float64{nan, nan, 2, 4, 3}},
		// The changes are +2, -1, +1: seed 2/2 and 1/2, so 100-100/3; then (1+1)/2 = 1 and 0.5/2 = 0.25, so 100-100/5.
		{"RSI", 2, []float64{10, 12, 11, 12}, []float64{nan, nan, 200.0 / 3, 80}},
		{"RSI", 2, []float64{5, 5, 5, 5}, []float64{nan, nan, 100, 100}},
		{"RSI", 2, []float64{5, 4, 3, 2}, []float64{nan, nan, 0, 0}},
		{"Returns", 9, []float64{4, 5, 4}, []float64{nan, 0.25, -0.2}},
		{"Volatility", 2, []float64{100, 110, 99}, []float64{nan, nan, 0.1 * math.Sqrt(252)}},
		{"Historical Volatility", 2, []float64{1, math.E, 1}, []float64{nan, nan, 100 * math.Sqrt(252)}},
		{"Historical Volatility", 1, []float64{0, 3, 6, -1}, []float64{nan, nan, 0, nan}},
		{"close", 5, []float64{3, 1}, []float64{3, 1}},
		// After a gap everything begins anew.
		{"SMA", 2, []float64{1, 3, nan, 5, 7}, []float64{nan, 2, nan, nan, 6}},
		{"EMA", 2, []float64{1, 3, nan, 5, 7, 9}, []float64{nan, 2, nan, nan, 6, 8}},
		{"RSI", 1, []float64{1, 3, nan, 5, 4}, []float64{nan, 100, nan, nan, 0}},
		{"Returns", 1, []float64{0, 3, 6}, []float64{nan, nan, 1}},
	} {
		compute, _, _ := formulaOf(c.metric)
		for i, v := range compute(c.prices, c.n) {
			near(t, fmt.Sprintf("%s(%d)[%d] of %v", c.metric, c.n, i, c.prices), v, c.want[i])
		}
	}
}

// A running sum would keep what the absurd price has swallowed.
func TestAbsurdPriceIsForgottenWhenItLeavesTheWindow(t *testing.T) {
	p := append([]float64{1e17}, walk(50, 3)...)
	for _, metric := range []string{"SMA", "Volatility", "Historical Volatility"} {
		compute, _, _ := formulaOf(metric)
		got, want := compute(p, 5), compute(p[1:], 5)
		for i := 8; i < len(p); i++ {
			near(t, fmt.Sprintf("%s[%d]", metric, i), got[i], want[i-1])
		}
	}
}

func TestPriceIsTheAdjustedCloseElseTheClose(t *testing.T) {
	b := &bars{days: make([]Day, 4), close: []float64{1, 2, 3, math.NaN()}, adjusted: []float64{0.5, 0, math.NaN(), math.NaN()}}
	for i, want := range []float64{0.5, 2, 3, math.NaN()} {
		near(t, fmt.Sprint("price ", i), b.prices()[i], want)
	}
}
