package keying

import "testing"

func TestACorrelationIsKeyedByTheAbsenceOfABot(t *testing.T) {
	there := Revision{Strategy: "s", Exact: "x", Settings: "t", Metrics: "m"}
	key := func(name, param, body string, revs ...Revision) string {
		key, err := ask(t, name, param, "", body).Key(revs, now)
		if err != nil {
			return ""
		}
		return key
	}
	both := `{"botIds":["a","b"]}`
	with, without := key("correlation-optimize", "", both, there, there), key("correlation-optimize", "", both, there, AbsentRevision())
	if without == "" || with == without || without == key("correlation-optimize", "", both, AbsentRevision(), there) {
		t.Errorf("with the bot %q, without it %q", with, without)
	}
	for _, name := range []string{"run-backtest", "bot-sanity"} {
		if got := key(name, "b", "", AbsentRevision()); got != "" {
			t.Errorf("%s of an absent bot is keyed as %s", name, got)
		}
	}
}

func TestAnAnswerWithoutAnAbsentBotIsASuccessOnlyIfItWouldShowIt(t *testing.T) {
	there, gone := Revision{Strategy: "s"}, AbsentRevision()
	optimized := func(ids string) string {
		return `{"validBotIds":[` + ids + `],"weights":[],"correlationMatrix":[],"portfolioMetrics":{}}`
	}
	for _, c := range []struct {
		what, name, body, answer string
		revs                     []Revision
		success                  bool
	}{
		{"two of three", "correlation-optimize", `{"botIds":["a","b","c"]}`, optimized(`"a","c"`), []Revision{there, gone, there}, true},
		{"all of three, though one is hidden", "correlation-optimize", `{"botIds":["a","b","c"]}`, optimized(`"a","b","c"`), []Revision{there, gone, there}, false},
		{"two of three that are there", "correlation-optimize", `{"botIds":["a","b","c"]}`, optimized(`"a","c"`), []Revision{there, there, there}, false},
		{"one of two candidates", "correlation-recommend", `{"candidateBotIds":["a","b"]}`, `{"recommendations":[{}]}`, []Revision{there, gone}, true},
		{"two of three candidates, which is the limit", "correlation-recommend", `{"candidateBotIds":["a","b","c"],"limit":2}`, `{"recommendations":[{},{}]}`, []Revision{there, gone, there}, false},
		{"an absent bot among the current ones", "correlation-recommend", `{"currentBotIds":["a"],"candidateBotIds":["b"]}`, `{"recommendations":[{}]}`, []Revision{gone, there}, false},
	} {
		if _, err := ask(t, c.name, "", "", c.body).Judge([]byte(c.answer), c.revs...); (err == nil) != c.success {
			t.Errorf("%s: %s is a success: %v (%v)", c.what, c.answer, err == nil, err)
		}
	}
}
