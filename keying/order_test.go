package keying

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPairsOfStrategiesShareAKeyOnlyIfTheEngineAnswersThemAlike: each pair was tried with the server's own engine.
func TestPairsOfStrategiesShareAKeyOnlyIfTheEngineAnswersThemAlike(t *testing.T) {
	raw, err := os.ReadFile("testdata/pairs.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Pairs []struct {
			Name, Seen string
			Same       bool
			A, B       json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Pairs) == 0 {
		t.Fatal(len(file.Pairs), err)
	}
	for _, pair := range file.Pairs {
		t.Run(pair.Name, func(t *testing.T) {
			body := func(payload string) string { return `{"payload":` + payload + `,"mode":"CC","costBps":5}` }
			for _, name := range []string{"backtest", "sanity", "indicator-series"} {
				if same := post(t, name, body(string(pair.A))) == post(t, name, body(string(pair.B))); same != pair.Same {
					t.Errorf("%s: %s and %s share a key: %v, but the engine answers: %s", name, pair.A, pair.B, same, pair.Seen)
				}
			}
			if same := post(t, "backtest", body(quoted(string(pair.A)))) == post(t, "backtest", body(quoted(string(pair.B)))); same != pair.Same {
				t.Errorf("in a string: share a key: %v, but the engine answers: %s", same, pair.Seen)
			}
			bot := func(payload json.RawMessage) string {
				return `{"bot":{"payload":` + quoted(string(payload)) + `,"backtestMode":"CC"}}`
			}
			if same := revision(t, bot(pair.A)).Strategy == revision(t, bot(pair.B)).Strategy; same != pair.Same {
				t.Errorf("a saved bot's revision is the same: %v, but the engine answers: %s", same, pair.Seen)
			}
		})
	}
}

const (
	condition = `{"id":"c","type":"if","ticker":"SPY","window":10}`
	gate      = `{"id":"g","kind":"indicator","title":"Gate","conditions":[` + condition + `],"children":{"then":[{"id":"p","kind":"position","positions":["QQQ"]}],"else":[null]}}`
)

func TestOrderAndEditorsFieldsCountWhereTheEngineMayMindThem(t *testing.T) {
	numbered := `{"id":"n","kind":"numbered","numbered":{"quantifier":"all","n":1,"items":[{"id":"i","conditions":[` + condition + `]}]}}`
	altExit := `{"id":"n","kind":"altExit","entryConditions":[` + condition + `],"exitConditions":[{"dateTo":{"month":1,"day":2}}]}`
	for _, c := range []struct {
		what, strategy, old, new string
		same                     bool
	}{
		{"fields of a node", gate, `"id":"g","kind":"indicator"`, `"kind":"indicator","id":"g"`, true},
		{"children before conditions", gate, `{"id":"p","kind":"position","positions":["QQQ"]}`, `{"positions":["QQQ"],"kind":"position","id":"p"}`, true},
		{"the title of a node", gate, `Gate`, `Other gate`, true},
		{"the title of a node that is an object", gate, `"Gate"`, `{"toString":1}`, false},
		{"slots of a node", gate, `"else":[null]`, `"a":[],"else":[null]`, false},
		{"slots of a node in another order", gate, gate[strings.Index(gate, `"then"`) : len(gate)-2], `"else":[null],"then":[{"id":"p","kind":"position","positions":["QQQ"]}]`, false},
		{"fields of a condition", gate, `"type":"if","ticker":"SPY"`, `"ticker":"SPY","type":"if"`, false},
		{"a title in a condition", gate, `"type":"if"`, `"type":"if","title":"x"`, false},
		{"collapsed in a condition", gate, `"type":"if"`, `"type":"if","collapsed":true`, false},
		{"weightingThen in a condition", gate, `"type":"if"`, `"type":"if","weightingThen":"equal"`, false},
		{"weightingThen in a node", gate, `"kind":"indicator"`, `"kind":"indicator","weightingThen":"equal","rankBy":"x","callRefId":"g"`, true},
		{"collapsed where the kind is no text", gate, `"kind":"indicator"`, `"kind":1,"collapsed":true`, false},
		{"fields of a numbered node's item", numbered, `"id":"i","conditions":[` + condition + `]`, `"conditions":[` + condition + `],"id":"i"`, false},
		{"fields of what is numbered", numbered, `"quantifier":"all","n":1`, `"n":1,"quantifier":"all"`, false},
		{"collapsed in a numbered node's item", numbered, `"id":"i"`, `"id":"i","collapsed":true`, false},
		{"fields of an entry condition", altExit, `"type":"if","ticker":"SPY"`, `"ticker":"SPY","type":"if"`, false},
		{"fields inside an exit condition", altExit, `"month":1,"day":2`, `"day":2,"month":1`, false},
	} {
		changed := strings.Replace(c.strategy, c.old, c.new, 1)
		if changed == c.strategy {
			t.Fatalf("%s: nothing was changed", c.what)
		}
		if same := backtestKey(t, c.strategy) == backtestKey(t, changed); same != c.same {
			t.Errorf("%s: %s and %s share a key: %v", c.what, c.strategy, changed, same)
		}
	}
}

func TestAnythingInAConditionCountsWhateverItCallsItself(t *testing.T) {
	a := strings.Replace(gate, `"type":"if"`, `"kind":"basic","collapsed":true,"children":{"next":[{"kind":"x","title":"a"}]}`, 1)
	for _, b := range []string{
		strings.Replace(a, `"collapsed":true,`, ``, 1), strings.Replace(a, `"title":"a"`, `"title":"b"`, 1), strings.Replace(a, `"kind":"x","title":"a"`, `"title":"a","kind":"x"`, 1),
	} {
		if backtestKey(t, a) == backtestKey(t, b) {
			t.Errorf("%s and %s share a key", a, b)
		}
	}
}

func TestConditionsOfIndicatorSeriesKeepTheirOrder(t *testing.T) {
	body := func(condition string) string {
		return post(t, "indicator-series", `{"conditions":[`+condition+`],"payload":`+gate+`}`)
	}
	if body(`{"id":"q","ticker":"SPY"}`) == body(`{"ticker":"SPY","id":"q"}`) {
		t.Error("the fields of a condition in another order share a key")
	}
}

// swapped draws a strategy, and another that differs in the order of two names in one object only, which is
// the children of a node or a condition.
func swapped(t *rapid.T) (a, b string) {
	drawn := name(tree(t), numbered("node"))
	v, err := parseObject([]byte(drawn))
	if err != nil {
		t.Fatal(err)
	}
	var objects []*value
	var walk func(v *value, counts bool)
	walk = func(v *value, counts bool) {
		if counts && v.kind == '{' && len(v.kids) > 1 {
			objects = append(objects, v)
		}
		for i := range v.kids {
			walk(&v.kids[i].value, v.kids[i].name == "children" || v.kids[i].name == "" && counts || v.kids[i].name == "conditions")
		}
	}
	walk(&v, false)
	if len(objects) == 0 {
		t.Skip("no object to change")
	}
	o := objects[rapid.IntRange(0, len(objects)-1).Draw(t, "object")]
	i := rapid.IntRange(1, len(o.kids)-1).Draw(t, "name")
	o.kids[0], o.kids[i] = o.kids[i], o.kids[0]
	return drawn, string(v.append(nil))
}

func TestAnotherOrderOfSlotsOrOfAConditionsFieldsAlwaysChangesTheKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := swapped(rt)
		if backtestKey(t, a) == backtestKey(t, b) {
			rt.Fatalf("%s and %s share a key", a, b)
		}
	})
}

func TestTitlesNeverChangeTheKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := name(tree(rt), numbered("node"))
		b := strings.ReplaceAll(a, `"title":"see `, `"title":"not `)
		c := strings.ReplaceAll(strings.ReplaceAll(a, `"collapsed":true,`, ``), `"kind":`, `"title":"The node-000-x","kind":`)
		if strings.Contains(c, `"bgColor"`) { // it has a title already
			c = a
		}
		if key := backtestKey(t, a); key != backtestKey(t, b) || key != backtestKey(t, c) {
			rt.Fatalf("%s, %s and %s mean the same", a, b, c)
		}
	})
}
