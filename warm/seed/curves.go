package seed

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf16"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"

	"warmfront/keying"
)

// A Curve is a bot's equity by day.
type Curve struct {
	Bot    string
	Days   []Day
	Equity []float64
}

// ReadCurve takes the equity curve out of an answer to run-backtest.
func ReadCurve(bot string, answer []byte) (Curve, error) {
	var shown struct {
		EquityCurve []struct {
			Date   string   `json:"date"`
			Equity *float64 `json:"equity"`
		} `json:"equityCurve"`
	}
	if err := keying.ReadJSON(answer, &shown); err != nil {
		return Curve{}, fmt.Errorf("the backtest of %s: %w", bot, err)
	}
	if len(shown.EquityCurve) == 0 {
		return Curve{}, fmt.Errorf("the backtest of %s has no equity curve", bot)
	}
	c := Curve{Bot: bot, Days: make([]Day, len(shown.EquityCurve)), Equity: make([]float64, len(shown.EquityCurve))}
	for i, row := range shown.EquityCurve {
		day, err := ParseDay(row.Date)
		if err != nil {
			return Curve{}, fmt.Errorf("the equity curve of %s: %w", bot, err)
		}
		c.Days[i], c.Equity[i] = day, math.NaN()
		if row.Equity != nil {
			c.Equity[i] = *row.Equity
		}
	}
	return c, nil
}

// still is a standard deviation of daily returns below which there is nothing but rounding: that of the
// quotient of two equal doubles is about 1e-16.
const still = 1e-12

// returns is a curve made ready: its daily returns in order of time, standardised to a mean of 0 and a
// sum of squares of 1. Correlations do not change by that, and of two curves over the same days they
// become the dot product.
type returns struct {
	bot   string
	days  []Day     // of the later of a return's two days; one slice for all of a group
	unit  []float64 // as long as days; zeros if the returns stand still
	norm  float64   // what the centred returns were divided by; 0 if they stand still
	group int       // of curves that have the same days
}

// prepare makes the curves ready, ordered by id as JavaScript sorts strings, which the server's keys
// are named by.
func prepare(curves []Curve, r *Report) []returns {
	var all []returns
	byID := map[string]bool{}
	for _, c := range curves {
		if !plain(c.Bot) || len(c.Days) != len(c.Equity) || byID[c.Bot] {
			continue // counted below
		}
		byID[c.Bot] = true
		all = append(all, returnsOf(c))
	}
	// Left-out curves are counted as the pairs that they cost, like everything else in the report.
	n, left := len(all), len(curves)-len(all)
	r.skip(badCurve, left*n+left*(left-1)/2)
	slices.SortFunc(all, func(a, b returns) int { return compareUTF16(a.bot, b.bot) })
	groups := [][]Day{}
	byLength := map[int][]int{}
	for i := range all {
		days := all[i].days
		all[i].group = -1
		for _, g := range byLength[len(days)] {
			if slices.Equal(groups[g], days) {
				all[i].group, all[i].days = g, groups[g]
				break
			}
		}
		if all[i].group < 0 {
			all[i].group = len(groups)
			byLength[len(days)] = append(byLength[len(days)], len(groups))
			groups = append(groups, days)
		}
	}
	return all
}

const badCurve = "bad curve"

// returnsOf takes equity[t]/equity[t-1] - 1. Rows may come in any order; of two of one day the last counts.
// A return that is no number, after an equity of zero or an unknown one, has no day.
func returnsOf(c Curve) returns {
	order := make([]int, len(c.Days))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(c.Days[a], c.Days[b]) })
	r := returns{bot: c.Bot, days: make([]Day, 0, len(order)), unit: make([]float64, 0, len(order))}
	last, from := math.NaN(), math.NaN() // equity of the last row, and of the day before its day
	for i, row := range order {
		day, equity := c.Days[row], c.Equity[row]
		if i > 0 && day == c.Days[order[i-1]] {
			if n := len(r.days); n > 0 && r.days[n-1] == day {
				r.days, r.unit = r.days[:n-1], r.unit[:n-1]
			}
		} else {
			from = last
		}
		last = equity
		if change := equity/from - 1; !math.IsNaN(change) && !math.IsInf(change, 0) {
			r.days, r.unit = append(r.days, day), append(r.unit, change)
		}
	}
	r.norm = centre(r.unit)
	if r.norm < still*math.Sqrt(float64(len(r.unit))) {
		r.norm = 0
		clear(r.unit)
		return r
	}
	floats.Scale(1/r.norm, r.unit)
	return r
}

// centre subtracts the mean and gives the root of the sum of squares that is left.
func centre(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	floats.AddConst(-stat.Mean(x, nil), x)
	return math.Sqrt(floats.Dot(x, x)) // floats.Norm guards against overflow, at ten times the time
}

var errTooFew = errors.New("too few common days")

// minCommon is how many returns two curves must have in common (contract, job 3).
const minCommon = 20

// A joiner correlates two curves; it holds the memory for it.
type joiner struct{ x, y []float64 }

// correlate gives Pearson's coefficient of the returns of the days that both curves have. Without variance
// on one side it is 0, as the server has it (details, section 8: "zero variance → 0").
func (j *joiner) correlate(a, b *returns) (rho float64, err error) {
	if a.group == b.group {
		if len(a.days) < minCommon {
			return 0, errTooFew
		}
		return bounded(floats.Dot(a.unit, b.unit)), nil
	}
	x, y := j.join(a, b)
	if len(x) < minCommon {
		return 0, errTooFew
	}
	if a.norm == 0 || b.norm == 0 {
		return 0, nil
	}
	// The sums of squares around the means, from those around zero: that loses digits where the common
	// days' mean is far from the whole curve's, which is 0.
	n := float64(len(x))
	sumX, sumY, squaresX, squaresY := floats.Sum(x), floats.Sum(y), floats.Dot(x, x), floats.Dot(y, y)
	aroundX, aroundY := squaresX-sumX*sumX/n, squaresY-sumY*sumY/n
	if aroundX > lossy*squaresX && aroundY > lossy*squaresY && a.moves(aroundX, n) && b.moves(aroundY, n) {
		return bounded((floats.Dot(x, y) - sumX*sumY/n) / math.Sqrt(aroundX*aroundY)), nil
	}
	j.x, j.y = append(j.x[:0], x...), append(j.y[:0], y...)
	normX, normY := centre(j.x), centre(j.y)
	if !a.moves(normX*normX, n) || !b.moves(normY*normY, n) {
		return 0, nil
	}
	return bounded(floats.Dot(j.x, j.y) / (normX * normY)), nil
}

// lossy is the share of a sum of squares that leaves ten digits of a difference.
const lossy = 1e-6

// moves reports whether n of r's standardised returns with that sum of squares are more than rounding.
func (r *returns) moves(squares, n float64) bool { return math.Sqrt(squares/n)*r.norm > still }

// join gives the returns of the common days. Curves that begin or end at different days are the usual
// case, holes between are not.
func (j *joiner) join(a, b *returns) (x, y []float64) {
	if len(a.days) == 0 || len(b.days) == 0 {
		return nil, nil
	}
	first, last := max(a.days[0], b.days[0]), min(a.days[len(a.days)-1], b.days[len(b.days)-1])
	i, iEnd := span(a.days, first, last)
	k, kEnd := span(b.days, first, last)
	if slices.Equal(a.days[i:iEnd], b.days[k:kEnd]) {
		return a.unit[i:iEnd], b.unit[k:kEnd]
	}
	j.x, j.y = j.x[:0], j.y[:0]
	for i < iEnd && k < kEnd {
		switch p, q := a.days[i], b.days[k]; {
		case p < q:
			i++
		case p > q:
			k++
		default:
			j.x, j.y = append(j.x, a.unit[i]), append(j.y, b.unit[k])
			i, k = i+1, k+1
		}
	}
	return j.x, j.y
}

// span is where the days from first to last are.
func span(days []Day, first, last Day) (from, to int) {
	from, _ = slices.BinarySearch(days, first)
	to, _ = slices.BinarySearch(days, last+1)
	return from, max(from, to)
}

// bounded takes away what rounding puts beyond ±1.
func bounded(rho float64) float64 { return max(-1, min(1, rho)) }

func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}
