package seed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"gonum.org/v1/gonum/stat"
)

// curve is a random one of n days from the first day on, that follows market in part.
func curve(bot string, random *rand.Rand, first Day, n int) Curve {
	c := Curve{Bot: bot}
	equity := 1.0
	for i := range n {
		market := rand.New(rand.NewPCG(uint64(first)+uint64(i), 1)).NormFloat64()
		equity *= 1 + 0.005*(market+random.NormFloat64())
		c.Days, c.Equity = append(c.Days, first+Day(i)), append(c.Equity, equity)
	}
	return c
}

// slowly is the definition: returns by date, joined, gonum's Correlation.
func slowly(a, b Curve) (rho float64, days int) {
	returns := func(c Curve) map[Day]float64 {
		m := map[Day]float64{}
		for i := 1; i < len(c.Days); i++ {
			m[c.Days[i]] = c.Equity[i]/c.Equity[i-1] - 1
		}
		return m
	}
	ra, rb := returns(a), returns(b)
	var x, y []float64
	for _, day := range slices.Sorted(maps.Keys(ra)) {
		if other, ok := rb[day]; ok {
			x, y = append(x, ra[day]), append(y, other)
		}
	}
	return stat.Correlation(x, y, nil), len(x)
}

func without(c Curve, drop func(i int) bool) Curve {
	out := Curve{Bot: c.Bot}
	for i := range c.Days {
		if !drop(i) {
			out.Days, out.Equity = append(out.Days, c.Days[i]), append(out.Equity, c.Equity[i])
		}
	}
	return out
}

func TestCorrelationsAreThoseOfTheReturnsOfCommonDays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var curves []Curve
	for i := range 40 {
		first, n := Day(10_000), 1000
		switch i % 4 {
		case 1:
			first, n = first+Day(20*i), n-20*i // begins later
		case 2:
			n -= 15 * i // ends earlier
		}
		c := curve(fmt.Sprintf("bot-%02d", i), random, first, n)
		if i%4 == 3 {
			c = without(c, func(day int) bool { return day%7 == i%5 }) // of another calendar
		}
		curves = append(curves, c)
	}
	for i, at := range []float64{1e-9, 1e-6, 1e-3} { // calm and rising while others are there, wild later
		c := curve(fmt.Sprint("calm-", i), random, 10_500, 1500)
		for k := 1; k < 500; k++ {
			c.Equity[k] = c.Equity[k-1] * (1.001 + at*random.NormFloat64())
		}
		curves = append(curves, c)
	}
	curves = append(curves, curve("short", random, 10_985, 100), curve("elsewhere", random, 20_000, 100))
	var r Report
	all := prepare(curves, &r)
	byID := map[string]Curve{}
	for _, c := range curves {
		byID[c.Bot] = c
	}
	seen := map[[2]string]bool{}
	few := 0
	ok(t, pairwise(t.Context(), all, nil, func(tile *tile) error {
		few += tile.tooFew
		for _, p := range tile.pairs {
			a, b := all[p.a].bot, all[p.b].bot
			want, days := slowly(byID[a], byID[b])
			if a >= b || seen[[2]string{a, b}] || days < minCommon || math.Abs(want-p.rho) > 1e-9 {
				t.Errorf("%s, %s: %v; expected %v of %d days, once", a, b, p.rho, want, days)
			}
			seen[[2]string{a, b}] = true
		}
		return nil
	}))
	if total := len(curves) * (len(curves) - 1) / 2; len(seen)+few != total || few == 0 {
		t.Errorf("%d pairs and %d with too few days, expected %d together", len(seen), few, total)
	}
}

func correlationOf(t *testing.T, a, b Curve) (float64, error) {
	t.Helper()
	var r Report
	all := prepare([]Curve{a, b}, &r)
	if len(all) != 2 {
		t.Fatalf("prepared %d of 2 curves: %v", len(all), r.Reasons)
	}
	return new(joiner).correlate(&all[0], &all[1])
}

func TestTwentyCommonReturnsAreEnough(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	a := curve("a", random, 0, 100)
	for days, want := range map[int]error{19: errTooFew, 20: nil} {
		for _, b := range []Curve{curve("b", random, Day(99-days), 200), curve("b", random, 0, days+1)} {
			if _, err := correlationOf(t, a, b); !errors.Is(err, want) {
				t.Errorf("%d common returns: %v, expected %v", days, err, want)
			}
		}
	}
}

func TestCurveWithoutVarianceCorrelatesWithNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	moves := curve("a", random, 0, 200)
	cash, interest, later := curve("b", random, 0, 200), curve("b", random, 0, 200), curve("b", random, 0, 300)
	for i := range cash.Equity {
		cash.Equity[i] = 1e5
		interest.Equity[i] = 1e5 * math.Pow(1.0001, float64(i)) // the same return each day, but for rounding
		later.Equity[i] = 3                                     // stands still while both exist
	}
	for name, still := range map[string]Curve{"cash": cash, "interest": interest, "begins to move later": later} {
		if rho, err := correlationOf(t, moves, still); rho != 0 || err != nil {
			t.Errorf("%s: %v, %v", name, rho, err)
		}
	}
	opposite := curve("c", random, 0, 200)
	for i := 1; i < len(opposite.Equity); i++ {
		opposite.Equity[i] = opposite.Equity[i-1] * (2 - moves.Equity[i]/moves.Equity[i-1])
	}
	if rho, err := correlationOf(t, moves, opposite); err != nil || math.Abs(rho+1) > 1e-9 || rho < -1 {
		t.Errorf("the opposite correlates with %v, %v", rho, err)
	}
}

func TestOddRowsOfACurveAreReadInOneWay(t *testing.T) {
	nan := math.NaN()
	for name, c := range map[string]struct {
		days   []Day
		equity []float64
		want   map[Day]float64
	}{
		"in order":           {[]Day{1, 2, 3}, []float64{1, 2, 3}, map[Day]float64{2: 1, 3: 0.5}},
		"out of order":       {[]Day{3, 1, 2}, []float64{3, 1, 2}, map[Day]float64{2: 1, 3: 0.5}},
		"a day twice":        {[]Day{1, 2, 2, 3}, []float64{1, 9, 2, 3}, map[Day]float64{2: 1, 3: 0.5}},
		"the first twice":    {[]Day{1, 1, 2}, []float64{9, 1, 2}, map[Day]float64{2: 1}},
		"an unknown equity":  {[]Day{1, 2, 3, 4}, []float64{1, nan, 3, 6}, map[Day]float64{4: 1}},
		"an equity of zero":  {[]Day{1, 2, 3, 4}, []float64{1, 0, 3, 6}, map[Day]float64{2: -1, 4: 1}},
		"unknown, then good": {[]Day{1, 2, 2}, []float64{1, nan, 2}, map[Day]float64{2: 1}},
		"a single day":       {[]Day{1}, []float64{1}, map[Day]float64{}},
		"none":               {nil, nil, map[Day]float64{}},
	} {
		r := returnsOf(Curve{Days: c.days, Equity: c.equity})
		if !slices.Equal(r.days, slices.Sorted(maps.Keys(c.want))) {
			t.Errorf("%s: returns of %v, expected %v", name, r.days, c.want)
			continue
		}
		mean := 0.0
		for _, f := range c.want {
			mean += f / float64(len(c.want))
		}
		for i, day := range r.days {
			near(t, name, r.unit[i]*r.norm, c.want[day]-mean)
		}
	}
}

func TestCurveIsReadFromABacktestsAnswer(t *testing.T) {
	c, err := ReadCurve("b", []byte(`{"success":true,"metrics":{},"equityCurve":[{"date":"1970-01-02","equity":1},{"date":"1970-01-03","equity":null}],"days":[{}]}`))
	ok(t, err)
	if !slices.Equal(c.Days, []Day{1, 2}) || c.Equity[0] != 1 || !math.IsNaN(c.Equity[1]) || c.Bot != "b" {
		t.Errorf("read %+v", c)
	}
	for _, bad := range []string{``, `{}`, `{"equityCurve":[]}`, `{"equityCurve":[{"date":"Wed Jan 14","equity":1}]}`, `{"equityCurve":"x"}`} {
		if _, err := ReadCurve("b", []byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestCurvesThatCantBeNamedOrRepeatOneAreCountedByTheirPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	var curves []Curve
	for _, id := range []string{"a", "b", "c", "a", "x:y", "", "{x}", "\xff"} {
		curves = append(curves, curve(id, random, 0, 50))
	}
	curves = append(curves, Curve{Bot: "uneven", Days: []Day{1}})
	var r Report
	if all := prepare(curves, &r); len(all) != 3 || r.Reasons[badCurve] != 9*8/2-3 {
		t.Errorf("%d curves, %v", len(all), r.Reasons)
	}
}

func TestIDsAreOrderedAsJavaScriptSortsThem(t *testing.T) {
	// By code units: the surrogates of U+1F600 come before U+FFFD.
	if compareUTF16("\U0001F600", "\uFFFD") >= 0 || compareUTF16("a", "b") >= 0 || compareUTF16("a", "ab") >= 0 {
		t.Error("the order is not that of UTF-16")
	}
}

func TestWorkEndsWhenItIsToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stop := errors.New("enough")
	items := make([]int, 1000)
	taken := 0
	err := parallel(ctx, items, func(int) int { return 1 }, func(int) error {
		if taken++; taken == 10 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || taken != 10 {
		t.Errorf("%v after %d", err, taken)
	}
	err = parallel(ctx, items, func(int) int { return 1 }, func(int) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected that it was cancelled", err)
	}
	ok(t, parallel(t.Context(), []int{1}, func(int) int { return 1 }, func(int) error { return nil }))
	if err := parallel(t.Context(), []int{1}, func(int) int { return 1 }, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the refusal of the last result is lost: %v", err)
	}
	ok(t, parallel(t.Context(), nil, func(int) int { return 1 }, func(int) error { return stop }))
}

func TestWithoutAnywhereToWriteNothingIsComputed(t *testing.T) {
	s := New(nil, "warmfront:", "", zap.NewNop())
	if _, err := s.Correlations(t.Context(), nil, nil); err == nil {
		t.Error("correlations for nobody")
	}
	if _, err := s.Candles(t.Context(), t.TempDir(), nil); err == nil {
		t.Error("candles of an empty directory")
	}
}

func TestPairSetHoldsPairsInOneOrderOnly(t *testing.T) {
	s := newPairSet([]returns{{bot: "a"}, {bot: "b"}, {bot: "c"}})
	s.add(0, 1)
	s.add(1, 2)
	for key, want := range map[string]bool{"correlation:a:b": true, "correlation:b:c": true, "correlation:b:a": false, "correlation:a:c": false, "correlation:a:d": false, "correlation:a": false} {
		if s.has(key) != want {
			t.Errorf("has(%s) is %v", key, !want)
		}
	}
	s.drop("correlation:a:b")
	s.drop("correlation:a:b")
	if got := slices.Collect(s.keys()); !slices.Equal(got, []string{"correlation:b:c"}) || s.count != 1 {
		t.Errorf("%v, counted %d", got, s.count)
	}
}

// benchCurves makes curves that begin at one day, or at one of ten.
func benchCurves(bots, days, starts int) []Curve {
	out := make([]Curve, bots)
	var wait sync.WaitGroup
	for i := range out {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 9))
			skip := i % starts * 25
			c := Curve{Bot: fmt.Sprintf("bot-%04d", i), Days: make([]Day, days-skip), Equity: make([]float64, days-skip)}
			equity := 1.0
			for k := range c.Days {
				equity *= 1 + 0.01*random.NormFloat64()
				c.Days[k], c.Equity[k] = Day(5000+skip+k), equity
			}
			out[i] = c
		})
	}
	wait.Wait()
	return out
}
