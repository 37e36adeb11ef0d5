package seed

import (
	"math"
	"testing"
)

func TestNumbersAreSpelledAsJavaScriptSpellsThem(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 1: "1", -1.5: "-1.5", 0.1: "0.1", 1.0 / 3: "0.3333333333333333", 0.30000000000000004: "0.30000000000000004",
		1e21: "1e+21", 1e20: "100000000000000000000", 123456789012345680000: "123456789012345680000", 1e-6: "0.000001",
		1e-7: "1e-7", 1.5e-9: "1.5e-9", 5e-324: "5e-324", math.MaxFloat64: "1.7976931348623157e+308",
		math.Inf(1): "null", math.Inf(-1): "null",
	} {
		if got := string(appendNumber(nil, f)); got != want {
			t.Errorf("%g is spelled %s, expected %s", f, got, want)
		}
	}
	if got := string(appendNumbers(nil, []float64{math.NaN(), math.Copysign(0, -1), 2})); got != "[null,0,2]" {
		t.Errorf("got %s, expected null for NaN and no minus zero", got)
	}
}

func TestDaysAreReadAndWrittenAlike(t *testing.T) {
	for _, s := range []string{"1969-12-31", "1970-01-01", "1993-02-28", "2024-02-29", "2026-01-14"} {
		for _, rest := range []string{"", "T00:00:00.000Z", " 00:00:00"} {
			d, err := ParseDay(s + rest)
			ok(t, err)
			if got := string(d.append(nil)); got != s {
				t.Errorf("%s is written as %s", s+rest, got)
			}
		}
	}
	for _, s := range []string{"", "2026-1-4", "2026-13-01", "2026-02-30", "20260114", "Wed Jan 14 2026", "2026-01-14x"} {
		if _, err := ParseDay(s); err == nil {
			t.Errorf("%q was taken for a day", s)
		}
	}
}

func TestOnlyKeysOfTheContractsShapesAreOurs(t *testing.T) {
	for key, want := range map[string]bool{
		"indicator:SPY:Relative Strength Index:14": true, "indicator:SPY:close:1": true,
		"indicator:SPY:Max Drawdown:14": false, "indicator:SPY:RSI:014": false, "indicator:SPY:RSI:0": false, "indicator:SPY:RSI:-1": false,
		"indicator:SPY:RSI:14:x": false, "indicator:SPY:RSI": false, "indicator::RSI:14": false, "indicator:SPY:RSI:1e3": false,
		"indicators:SPY:RSI:14": false, "indicator:{SPY}:RSI:14": false,
	} {
		if got := ourIndicator(key); got != want {
			t.Errorf("%q counts as ours: %v, expected %v", key, got, want)
		}
	}
	for key, want := range map[string]bool{"candles:SPY": true, "candles:BRK-B": true, "candles:": false, "candles:SPY:1d": false, "candles:a\x00": false} {
		if _, got := shaped(key, "candles", 1); got != want {
			t.Errorf("%q has the shape: %v, expected %v", key, got, want)
		}
	}
}
