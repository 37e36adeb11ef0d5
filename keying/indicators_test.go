package keying

import "testing"

func TestOnlyCustomIndicatorsThatAreUsedCount(t *testing.T) {
	const (
		rsi  = `{"id":"ci_1","name":"My RSI","formula":"rsi*2"}`
		vol  = `{"id":"ci_2","name":"My vol","formula":"stdev"}`
		both = `{"id":"ci_3","name":"Both","formula":"custom:ci_2 + 1"}`
	)
	for _, c := range []struct {
		what, metric, indicators, others string
		same                             bool
	}{
		{"none is used", `Relative Strength Index`, `[]`, `[` + rsi + `,` + vol + `]`, true},
		{"another is used", `custom:ci_1`, `[` + rsi + `]`, `[` + vol + `,` + rsi + `]`, true},
		{"the one that is used is not there", `custom:ci_1`, `[]`, `[` + rsi + `]`, false},
		{"the one that is used is another", `custom:ci_1`, `[` + rsi + `]`, `[{"id":"ci_1","name":"My RSI","formula":"rsi*3"}]`, false},
		{"it is named by its name", `My RSI`, `[]`, `[` + rsi + `]`, false},
		{"it is mentioned in a longer text", `x/ci_1/y`, `[]`, `[` + rsi + `]`, false},
		{"an id that begins like it", `custom:ci_12`, `[]`, `[` + rsi + `]`, true},
		{"it is used by one that is used", `custom:ci_3`, `[` + both + `]`, `[` + both + `,` + vol + `]`, false},
		{"it is used by one that is not used", `custom:ci_1`, `[` + rsi + `]`, `[` + rsi + `,` + both + `,` + vol + `]`, true},
		{"two of one id", `custom:ci_1`, `[` + rsi + `,{"id":"ci_1"}]`, `[{"id":"ci_1"},` + rsi + `]`, false},
		{"one without an id", `x`, `[]`, `[{"name":"a"}]`, false},
		{"one whose id is no text", `x`, `[]`, `[{"id":1}]`, false},
		{"null among them", `x`, `[]`, `[` + rsi + `,null]`, false},
		{"no list", `x`, `[]`, `{"id":"ci_1"}`, false},
	} {
		body := func(indicators string) string {
			return `{"payload":{"id":"g","kind":"indicator","title":"ci_1","conditions":[{"id":"c","metric":` + quoted(c.metric) + `}]},"customIndicators":` + indicators + `}`
		}
		if same := post(t, "backtest", body(c.indicators)) == post(t, "backtest", body(c.others)); same != c.same {
			t.Errorf("%s: metric %q with %s and with %s share a key: %v", c.what, c.metric, c.indicators, c.others, same)
		}
	}
}

func TestAnIndicatorThatIsNotUsedPinsNoID(t *testing.T) {
	body := func(id string) string {
		return `{"payload":{"id":"` + id + `","kind":"basic"},"customIndicators":[{"id":"ci_1","formula":"node-1"}]}`
	}
	if post(t, "backtest", body("node-1")) != post(t, "backtest", body("node-2")) {
		t.Error("an id in an indicator that nothing uses makes two keys")
	}
}
