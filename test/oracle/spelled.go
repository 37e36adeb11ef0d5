package oracle

import (
	"crypto/rand"
	"fmt"
	"regexp"
)

// Strategies whose spelling decides what the engine makes of them (traps 17 and 18): a gate in another whose then is the
// same to JSON.stringify, or only seems so; alt exits whose id is the name of something that every object has.
const (
	twoSame = iota // of spelled, from the end of strategies
	fieldsSwapped
	collapsedCondition
	slotsSame
	slotsSwapped
	plainID
	prototypeID
	noID
	otherID
	spellings
)

// spelled gives them as text; "~" begins every id that is to be fresh.
func spelled() []string {
	const condition = `"type":"if","ticker":"SPY","metric":"Relative Strength Index","window":10,"comparator":"lt","threshold":50`
	const swapped = `"threshold":50,"comparator":"lt","window":10,"metric":"Relative Strength Index","ticker":"SPY","type":"if"`
	held := func(ticker string) string { return `{"id":"~p","kind":"position","positions":["` + ticker + `"]}` }
	gate := func(condition string) string {
		return `{"id":"~g","kind":"indicator","conditions":[{"id":"~c",` + condition + `}],"children":{"then":[` + held("QQQ") + `],"else":[` + held("TLT") + `]}}`
	}
	scaled := func(slots string) string {
		return `{"id":"~s","kind":"scaling","scaleTicker":"SPY","scaleMetric":"Relative Strength Index","scaleWindow":14,"scaleFrom":30,"scaleTo":70,"children":{` + slots + `}}`
	}
	yes, no := `"then":[`+held("QQQ")+`]`, `"else":[`+held("TLT")+`]`
	beside := func(a, b string) string {
		return `{"id":"~r","kind":"indicator","conditions":[{"id":"~x",` + condition + `}],"children":{"then":[` + a + `],"else":[` +
			`{"id":"~h","kind":"indicator","conditions":[{"id":"~y",` + `"type":"and","ticker":"SPY","metric":"Relative Strength Index","window":10,"comparator":"gt","threshold":40` +
			`}],"children":{"then":[` + b + `],"else":[` + held("BIL") + `]}}]}}`
	}
	exit := func(id string) string {
		return `{` + id + `"kind":"altExit","entryConditions":[{"id":"~e",` + condition + `}],"exitConditions":[{"id":"~f",` +
			`"type":"if","ticker":"SPY","metric":"Relative Strength Index","window":10,"comparator":"gt","threshold":55}],"children":{` + yes + `,` + no + `}}`
	}
	two := func(a, b string) string {
		return `{"id":"~r","kind":"basic","children":{"next":[` + a + `,` + b + `]}}`
	}
	return []string{
		twoSame:            beside(gate(condition), gate(condition)),
		fieldsSwapped:      beside(gate(condition), gate(swapped)),
		collapsedCondition: beside(gate(condition), gate(condition+`,"collapsed":true`)),
		slotsSame:          beside(scaled(yes+","+no), scaled(yes+","+no)),
		slotsSwapped:       beside(scaled(yes+","+no), scaled(no+","+yes)),
		plainID:            exit(`"id":"~a",`),
		prototypeID:        exit(`"id":"constructor",`),
		noID:               two(exit(``), exit(`"id":"unknown",`)),
		otherID:            two(exit(``), exit(`"id":"~b",`)),
	}
}

// isFresh finds the ids that payload made.
var isFresh = regexp.MustCompile(`node-[A-Z2-7]{26}`)

// withOtherIDs is a payload with other fresh ids, equal where they were equal.
func withOtherIDs(payload string) string {
	renamed := map[string]string{}
	return isFresh.ReplaceAllStringFunc(payload, func(id string) string {
		if renamed[id] == "" {
			renamed[id] = fmt.Sprint("node-", rand.Text())
		}
		return renamed[id]
	})
}
