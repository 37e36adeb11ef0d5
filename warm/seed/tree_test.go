package seed

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

const everyKind = `{"kind":"basic","children":{"next":[null,
 {"kind":"indicator","conditions":[
   {"ticker":"spy","metric":"Current Price","window":1,"rightTicker":"SPY","rightMetric":"Simple Moving Average","rightWindow":200},
   {"ticker":"SPY","metric":"Simple Moving Average","window":200.9},
   {"ticker":"branch:then","metric":"Relative Strength Index","window":10},
   {"ticker":"SPY/TLT","metric":"Relative Strength Index","window":10},
   {"ticker":"SPY","metric":"Aroon Up","window":10},
   {"ticker":"SPY","metric":"RSI"},
   {"ticker":"","metric":"RSI","window":3},{"metric":"RSI"},{"ticker":5},null,7],
  "children":{"then":[{"kind":"position","positions":["QQQ",{"ticker":"BIL"},"Empty",null]}],"else":null,"x":3}},
 {"kind":"numbered","numbered":{"quantifier":"all","items":[{"conditions":[{"ticker":"TLT","metric":"Exponential Moving Average","window":"20"}]},null]},"children":{}},
 {"kind":"altExit","entryConditions":[{"ticker":"IWM","metric":"Historical Volatility","window":21}],
  "exitConditions":[{"ticker":"IWM","metric":"Daily Return","window":0.5}]},
 {"kind":"scaling","scaleTicker":"DIA","scaleMetric":"Relative Strength Index","scaleWindow":14},
 {"kind":"function","metric":"Relative Strength Index","window":10,"children":{"next":[
   {"kind":"position","positions":["XLE"]},{"kind":"basic","children":{"next":[{"kind":"position","positions":["XOM"]}]}}]}}
]}}`

func TestEveryPlaceOfATreeThatNamesAnIndicatorIsFound(t *testing.T) {
	quoted, err := json.Marshal(everyKind)
	ok(t, err)
	want := []string{
		"indicator:BIL:close:1", "indicator:DIA:Relative Strength Index:14", "indicator:IWM:Daily Return:1", "indicator:IWM:Historical Volatility:21",
		"indicator:QQQ:close:1", "indicator:SPY:Current Price:1", "indicator:SPY:Simple Moving Average:200",
		"indicator:TLT:Exponential Moving Average:20", "indicator:XLE:Relative Strength Index:10", "indicator:XLE:close:1", "indicator:XOM:close:1",
	}
	paths := map[string]string{"BIL": "", "DIA": "", "IWM": "", "QQQ": "", "SPY": "", "TLT": "", "XLE": "", "XOM": ""}
	for name, payload := range map[string]string{"an object": everyKind, "a string": string(quoted)} {
		var r Report
		wanted := collect(slices.Values([][]byte{[]byte(payload), []byte(payload)}), paths, &r)
		var got []string
		for _, triples := range wanted {
			for _, t := range triples {
				got = append(got, t.key())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: found\n%s\nexpected\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		reasons := map[string]int{branchRef: 1, ratioTicker: 1, unknownMetric: 1, badWindow: 1}
		if !maps.Equal(r.Reasons, reasons) || r.Skipped != 4 {
			t.Errorf("%s: skipped %d: %v, expected %v", name, r.Skipped, r.Reasons, reasons)
		}
	}
}

func TestStrategiesThatCantBeReadAreCounted(t *testing.T) {
	var r Report
	collect(slices.Values([][]byte{nil, []byte(`{`), []byte(`[]`), []byte(`"{"`), []byte(`null`), []byte(`"\"{}\""`), []byte(`{}`),
		[]byte(strings.Repeat(`{"children":{"next":[`, 20_000)), []byte(`{"conditions":[{"ticker":"GONE","metric":"RSI","window":2}]}`)}),
		map[string]string{"SPY": ""}, &r)
	if want := map[string]int{badPayload: 7, noPrices: 1}; !maps.Equal(r.Reasons, want) {
		t.Errorf("skipped %v, expected %v", r.Reasons, want)
	}
}

func TestADeepStrategyIsRead(t *testing.T) {
	const depth = 1500
	deep := strings.Repeat(`{"kind":"basic","children":{"next":[`, depth) + `{"kind":"position","positions":["SPY"]}` + strings.Repeat(`]}}`, depth)
	quoted, err := json.Marshal(deep)
	ok(t, err)
	for _, payload := range []string{deep, string(quoted)} {
		found := references{}
		ok(t, found.add([]byte(payload)))
		if _, there := found[reference{"SPY", "close", 1}]; !there {
			t.Errorf("found %v in a strategy of %d nested nodes, expected the close of SPY", found, depth)
		}
	}
}

func TestNamesOfAStrategyAreReadLetterByLetter(t *testing.T) {
	found := references{}
	ok(t, found.add([]byte(`{"Conditions":[{"ticker":"SPY","metric":"RSI","window":2}],"conditions":[{"Ticker":"QQQ","metric":"RSI","window":2}]}`)))
	if len(found) > 0 {
		t.Errorf("found %v where the server reads nothing", found)
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte(everyKind))
	f.Add([]byte(`"{\"conditions\":[{\"ticker\":\"a:b\",\"metric\":\"RSI\",\"window\":1e300}]}"`))
	f.Add([]byte(`{"positions":["{x}","a\u0000","BRANCH:","*"],"conditions":{"ticker":1}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		found := references{}
		if err := found.add(payload); err != nil {
			return
		}
		for ref := range found {
			n, reason := ref.triple()
			if reason == "" && !ourIndicator(n.key()) {
				t.Errorf("%+v would be written as %q, which is no key of ours", ref, n.key())
			}
		}
	})
}
