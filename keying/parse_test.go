package keying

import (
	"strings"
	"testing"
)

const strategy = `{"id":"n1","kind":"basic","children":{"next":[{"id":"n2","kind":"position","positions":["SPY"]}]}}`

// same and other say which requests share a key.
type pair struct{ name, a, b string }

func TestRequestsThatMeanTheSameShareAKey(t *testing.T) {
	for _, c := range []pair{
		{"run-backtest", ``, `{}`},
		{"run-backtest", `{}`, `{"mode":"CC","costBps":5,"benchmarkTicker":"SPY"}`},
		{"run-backtest", `{}`, `{"mode":null,"costBps":null,"benchmarkTicker":null}`},
		{"run-backtest", `{}`, `{"mode":"","benchmarkTicker":0}`},
		{"run-backtest", `{}`, `{"mode":false}`},
		{"run-backtest", `{}`, `{"forceRefresh":true}`},
		{"run-backtest", `{"forceRefresh":false}`, `{"forceRefresh":"yes"}`},
		{"run-backtest", `{"costBps":5}`, " {\n\t\"costBps\" : 5.0e0 } \r\n"},
		{"run-backtest", `{"costBps":0}`, `{"costBps":0.0}`},
		{"run-backtest", `{"mode":"OO","costBps":1}`, `{"costBps":1,"m\u006fde":"\u004fO"}`},
		{"backtest", `{"payload":` + strategy + `}`, `{"payload":` + quoted(strategy) + `}`},
		{"backtest", `{"payload":` + strategy + `}`, `{"payload":` + quoted(" "+strategy+"\n") + `,"mode":"CC","costBps":5,"customIndicators":[],"benchmarkTicker":"SPY","engine":"node"}`},
		{"backtest", `{"payload":` + strategy + `}`, `{"payload":` + strings.ReplaceAll(strategy, "n1", "zz9") + `}`},
		{"backtest", `{"payload":{"id":"a","kind":"basic","collapsed":true,"bgColor":"red"}}`, `{"payload":{"kind":"basic","id":"b","bgColor":null}}`},
		{"backtest", `{"payload":{"kind":"basic","title":"a"}}`, `{"payload":{"kind":"basic","title":"b"}}`},
		{"backtest", `{"payload":{},"costBps":1,"splitConfig":{"enabled":true,"strategy":"x"}}`, `{"splitConfig":{"strategy":"x","enabled":true},"costBps":1,"payload":{}}`},
		{"backtest", `{"payload":{"a":1,"2":2,"1":3}}`, `{"payload":{"1":3,"2":2,"a":1}}`},
		{"backtest", `{"payload":{"id":"a","parentNodeId":"a"}}`, `{"payload":{"id":"b","parentNodeId":"b"}}`},
		{"backtest", `{"payload":{"id":"ab","x":"abc cab"}}`, `{"payload":{"id":"q","x":"abc cab"}}`},
		{"sanity", `{"payload":{}}`, `{"payload":"{}","years":5,"blockSize":7,"shards":10,"seed":42,"benchmarkTicker":"SPY","mode":"CC","costBps":5}`},
		{"bot-sanity", `{}`, `{"years":5.0,"blockSize":7,"shards":1e1,"seed":42,"mode":"OO","costBps":99,"oosStartDate":"2020-01-01"}`},
		{"correlation-optimize", `{"botIds":["a","b"]}`, `{"botIds":["a","b"],"metric":"correlation","period":"full","maxWeight":0.40}`},
		{"correlation-recommend", `{"candidateBotIds":["a"]}`, `{"candidateBotIds":["a"],"currentBotIds":[],"limit":3,"metric":"correlation","period":"full"}`},
		{"indicator-series", `{"conditions":[]}`, `{"conditions":[],"mode":"OC"}`},
		{"indicator-series", `{"conditions":[{"id":"c","parentNodeId":"n1"}],"payload":` + strategy + `}`,
			`{"conditions":[{"id":"c","parentNodeId":"q1"}],"payload":` + strings.ReplaceAll(strategy, "n1", "q1") + `}`},
		{"candles-batch", `{"tickers":["SPY"]}`, `{"tickers":["SPY"],"limit":1500}`},
		{"candles-batch", `{"tickers":["SPY"],"limit":20000}`, `{"tickers":["SPY"],"limit":99999}`},
		{"candles-batch", `{"tickers":["SPY"],"limit":1}`, `{"tickers":["SPY"],"limit":50}`},
	} {
		if post(t, c.name, c.a) != post(t, c.name, c.b) {
			t.Errorf("%s: %s and %s mean the same", c.name, clip(c.a), clip(c.b))
		}
	}
}

func TestRequestsThatCouldDifferNeverShareAKey(t *testing.T) {
	withID := func(id string) string { return `{"payload":{"id":` + quoted(id) + `,"x":"` }
	for _, c := range []pair{
		{"run-backtest", `{}`, `{"costBps":0}`},
		{"run-backtest", `{}`, `{"costBps":""}`},
		{"run-backtest", `{}`, `{"costBps":false}`},
		{"run-backtest", `{"costBps":"5"}`, `{"costBps":5}`},
		{"run-backtest", `{}`, `{"unknown":null}`},
		{"run-backtest", `{}`, `{"mode":"cc"}`},
		{"run-backtest", `{}`, `{"Mode":"CC","x":1}`},
		{"run-backtest", `{"x":{"forceRefresh":true}}`, `{"x":{}}`},
		{"backtest", `{"payload":{}}`, `{"payload":{},"mode":null}`},
		{"backtest", `{"payload":{}}`, `{"payload":{},"costBps":null}`},
		{"backtest", `{"payload":{}}`, `{"payload":{},"splitConfig":null}`},
		{"backtest", `{"payload":{}}`, `{"payload":{},"engine":"rust"}`},
		{"backtest", `{"payload":{"title":"a"}}`, `{"payload":{"title":"b"}}`},
		{"backtest", `{"payload":{"kind":"basic","collapsed":{}}}`, `{"payload":{"kind":"basic"}}`},
		{"backtest", `{"payload":{"a":1,"b":2}}`, `{"payload":{"b":2,"a":1}}`},
		{"backtest", `{"payload":{"a":1,"01":2}}`, `{"payload":{"01":2,"a":1}}`},
		{"backtest", `{"payload":{},"collapsed":true}`, `{"payload":{}}`},
		{"backtest", `{"payload":{"positions":["A","B"]}}`, `{"payload":{"positions":["B","A"]}}`},
		{"backtest", `{"payload":{"a":[{"id":"x"},{"id":"y"}]}}`, `{"payload":{"a":[{"id":"x"},{"id":"x"}]}}`},
		{"backtest", `{"payload":{"a":[{"id":"x"},{"id":"y","parentNodeId":"x"}]}}`, `{"payload":{"a":[{"id":"x"},{"id":"y","parentNodeId":"y"}]}}`},
		{"backtest", `{"payload":{"a":[{"id":"x"},{"id":"y"}],"m":"x"}}`, `{"payload":{"a":[{"id":"y"},{"id":"x"}],"m":"x"}}`},
		{"backtest", `{"payload":{"a":[{"id":"x-1"},{"id":"y-1"}],"m":"branch:x-1"}}`, `{"payload":{"a":[{"id":"y-1"},{"id":"x-1"}],"m":"branch:x-1"}}`},
		{"backtest", `{"payload":{"a":[{"id":"x-1"},{"id":"y-1"}],"m":{"x-1":1}}}`, `{"payload":{"a":[{"id":"y-1"},{"id":"x-1"}],"m":{"x-1":1}}}`},
		{"backtest", `{"payload":{"a":[{"id":"1"},{"id":"2"}],"m":1}}`, `{"payload":{"a":[{"id":"2"},{"id":"1"}],"m":1}}`},
		{"backtest", withID("a") + `a b"}}`, withID("b") + `a b"}}`},
		{"backtest", withID("node-1") + `node-1-2"}}`, withID("node-1-2") + `node-1-2"}}`},
		{"backtest", `{"payload":{"id":"#0","parentNodeId":"#0"}}`, `{"payload":{"id":"a","parentNodeId":"#0"}}`},
		{"backtest", `{"payload":{"a":[{"id":"x-1"},{"id":"y-1"}],"nodeId":"x-1-then"}}`, `{"payload":{"a":[{"id":"y-1"},{"id":"x-1"}],"nodeId":"x-1-then"}}`},
		{"backtest", `{"payload":{"id":"a"},"customIndicators":[{"nodeId":"a"}]}`, `{"payload":{"id":"b"},"customIndicators":[{"nodeId":"b"}]}`},
		{"backtest", `{"payload":{"parentNodeId":"=a"}}`, `{"payload":{"parentNodeId":"a"}}`},
		{"backtest", `{"payload":{"id":1}}`, `{"payload":{"id":2}}`},
		{"backtest", `{"payload":{"id":""}}`, `{"payload":{"id":"a"}}`},
		{"backtest", `{"payload":{"x":"custom:a"},"customIndicators":[{"id":"a"}]}`, `{"payload":{"x":"custom:a"},"customIndicators":[{"id":"b"}]}`},
		{"backtest", `{"payload":{"id":"a"},"customIndicators":[{"id":"a"}]}`, `{"payload":{"id":"b"},"customIndicators":[{"id":"a"}]}`},
		{"sanity", `{"payload":{}}`, `{"payload":{},"seed":43}`},
		{"sanity", `{"payload":{}}`, `{"payload":{},"years":null}`},
		{"sanity", `{"payload":{}}`, `{"payload":{},"startDate":""}`},
		{"bot-sanity", `{}`, `{"splitConfig":{}}`},
		{"bot-sanity", `{}`, `{"shards":"10"}`},
		{"correlation-optimize", `{"botIds":["a","b"]}`, `{"botIds":["b","a"]}`},
		{"correlation-optimize", `{"botIds":["a","b"]}`, `{"botIds":["a","b"],"maxWeight":null}`},
		{"correlation-recommend", `{"candidateBotIds":["a"],"currentBotIds":["b"]}`, `{"candidateBotIds":["b"],"currentBotIds":["a"]}`},
		{"correlation-recommend", `{"candidateBotIds":["b"],"currentBotIds":["a"]}`, `{"candidateBotIds":["a","b"]}`},
		{"indicator-series", `{"conditions":[{"id":"a"}]}`, `{"conditions":[{"id":"b"}]}`},
		{"indicator-series", `{"conditions":[{"id":"n1"}],"payload":` + strategy + `}`, `{"conditions":[{"id":"n1"}],"payload":` + strings.ReplaceAll(strategy, "n1", "q1") + `}`},
		{"indicator-series", `{"conditions":[{"id":"n1"}],"payload":` + strategy + `}`, strings.ReplaceAll(`{"conditions":[{"id":"n1"}],"payload":`+strategy+`}`, "n1", "q1")},
		{"indicator-series", `{"payload":"{}"}`, `{"payload":{}}`},
		{"indicator-series", `{}`, `{"mode":"CC"}`},
		{"candles-batch", `{"tickers":["SPY"]}`, `{"tickers":["spy"]}`},
		{"candles-batch", `{"tickers":["SPY"]}`, `{"tickers":["SPY"],"limit":null}`},
		{"candles-batch", `{"tickers":["SPY","QQQ"]}`, `{"tickers":["QQQ","SPY"]}`},
	} {
		if post(t, c.name, c.a) == post(t, c.name, c.b) {
			t.Errorf("%s: %s and %s could be answered differently", c.name, clip(c.a), clip(c.b))
		}
	}
}

func TestAnswersOfDifferentRoutesNeverShareAKey(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct{ name, param, body string }{
		{"run-backtest", "b", "{}"}, {"bot-sanity", "b", "{}"}, {"backtest", "", `{"payload":{}}`}, {"sanity", "", `{"payload":{}}`},
		{"correlation-optimize", "", `{"botIds":[],"candidateBotIds":[],"currentBotIds":[],"limit":1,"maxWeight":1}`},
		{"correlation-recommend", "", `{"botIds":[],"candidateBotIds":[],"currentBotIds":[],"limit":1,"maxWeight":1}`},
		{"candles", "SPY", ""}, {"candles-batch", "", `{"tickers":["SPY"]}`}, {"benchmarks", "", ""}, {"indicator-series", "", ""},
	} {
		key := keyOf(t, ask(t, c.name, c.param, "", c.body))
		if other := seen[key]; other != "" {
			t.Errorf("%s and %s share %s", c.name, other, key)
		}
		seen[key] = c.name
	}
}

func TestWhatCannotBeReadInOneWayIsNotKeyed(t *testing.T) {
	deep := func(n int) string { return `{"payload":` + nested(n) + `}` }
	for _, c := range []struct{ name, param, query, body, reason string }{
		{"backtest", "", "", " ", "json"}, {"backtest", "", "", "null", "json"}, {"backtest", "", "", "[]", "json"},
		{"backtest", "", "", `{"payload":{}`, "json"}, {"backtest", "", "", `{"payload":{}}x`, "json"},
		{"backtest", "", "", `{"payload":{}}{}`, "json"}, {"backtest", "", "", "\ufeff{}", "json"},
		{"backtest", "", "", "{\"payload\":{}}\x00", "json"}, {"backtest", "", "", "{\"payload\":\"\x00\"}", "json"},
		{"backtest", "", "", "{\"payload\":\"\xff\"}", "json"}, {"backtest", "", "", `{"a":"\ud800","payload":{}}`, "json"},
		{"backtest", "", "", `{"payload":{},"payload":{}}`, "duplicate-name"}, {"backtest", "", "", `{"payload":{"a":1,"\u0061":1}}`, "duplicate-name"},
		{"backtest", "", "", `{"payload":` + quoted(`{"a":1,"a":1}`) + `}`, "duplicate-name"},
		{"backtest", "", "", `{"payload":{"a":1e400}}`, "number"}, {"backtest", "", "", `{"payload":{"a":-0}}`, "number"},
		{"backtest", "", "", `{"payload":{"a":-0.0e3}}`, "number"}, {"backtest", "", "", `{"payload":"{\"a\":-1e999}"}`, "number"},
		{"backtest", "", "", deep(5000), "nesting"}, {"backtest", "", "", deep(maxDepth), "nesting"},
		{"backtest", "", "", `{"payload":` + quoted(nested(maxDepth+1)) + `}`, "nesting"}, {"backtest", "", "", deep(100_000), "nesting"},
		{"backtest", "", "", `{"payload":{"a":[` + strings.Repeat("0,", maxValues) + `0]}}`, "size"},
		{"backtest", "", "", ``, "payload"}, {"backtest", "", "", `{"payload":null}`, "payload"}, {"backtest", "", "", `{"payload":[]}`, "payload"},
		{"backtest", "", "", `{"payload":"[]"}`, "json"}, {"backtest", "", "", `{"payload":""}`, "json"}, {"sanity", "", "", `{"payload":"{} {}"}`, "json"},
		{"run-backtest", "b", "a=1&a=2", "", "query"}, {"run-backtest", "b", "a[]=1", "", "query"}, {"run-backtest", "b", "a%5Bb%5D=1", "", "query"},
		{"run-backtest", "b", "a=%", "", "query"}, {"run-backtest", "b", "a=%FF", "", "query"}, {"run-backtest", "b", "a;b", "", "query"},
		{"run-backtest", "b", "a=b]=c", "", "query"}, {"run-backtest", "b", "a=%5d", "", "query"}, {"run-backtest", "b", "a=\xc3", "", "query"},
		{"run-backtest", "b", strings.Repeat("a&", 101), "", "query"}, {"run-backtest", "trash", "", "", "path"}, {"run-backtest", "\xff", "", "", "path"},
		{"benchmarks", "", "tickers=%C3%9F", "", "tickers"}, {"benchmarks", "", "", "{}", "body"}, {"candles", "SPY", "", " ", "body"},
		{"candles", "ß", "", "", "tickers"}, {"candles", "!", "", "", "tickers"}, {"candles", "SPY", "limit=abc", "", "limit"},
		{"candles", "SPY", "limit=-1", "", "limit"}, {"candles", "SPY", "limit=1e3", "", "limit"}, {"candles", "SPY", "limit=1234567890", "", "limit"},
		{"candles", "SPY", "limit=+5", "", "limit"}, {"candles", "SPY", "limit=1&limit=2", "", "query"},
		{"candles-batch", "", "", `{}`, "tickers"}, {"candles-batch", "", "", `{"tickers":[]}`, "tickers"}, {"candles-batch", "", "", `{"tickers":[1]}`, "tickers"},
		{"candles-batch", "", "", `{"tickers":[` + strings.Repeat(`"A",`, 500) + `"A"]}`, "tickers"}, {"candles-batch", "", "", `{"tickers":"SPY"}`, "tickers"},
		{"correlation-optimize", "", "", `{}`, "bots"}, {"correlation-optimize", "", "", `{"botIds":[1]}`, "bots"}, {"correlation-optimize", "", "", `{"botIds":["trash","a"]}`, "bots"},
		{"correlation-optimize", "", "", `{"botIds":[""]}`, "bots"}, {"correlation-recommend", "", "", `{"candidateBotIds":{}}`, "bots"},
		{"correlation-recommend", "", "", `{"candidateBotIds":[],"currentBotIds":null}`, "bots"},
		{"correlation-optimize", "", "", `{"botIds":["a","` + strings.Repeat("b", maxBotID+1) + `"]}`, "bots"},
		{"correlation-optimize", "", "", `{"botIds":[` + strings.Repeat(`"A",`, maxBots) + `"A"]}`, "bots"},
	} {
		q, err := route(t, c.name).Parse(c.param, c.query, []byte(c.body), ByOrder)
		if got := reason(err); got != c.reason || q != nil {
			t.Errorf("%s %q %q %s: reason %q, want %q", c.name, c.param, c.query, clip(c.body), got, c.reason)
		}
	}
}

func TestAReasonNeverQuotesTheRequest(t *testing.T) {
	for _, body := range []string{
		`{"secret":{"secret":1,"secret":2}}`, `{"secret":secret}`, `{"secret":"secret"`, `{"payload":"{\"secret\":[secret]}"}`, `{"payload":"secret"}`,
	} {
		_, err := route(t, "backtest").Parse("", "", []byte(body), ByOrder)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestNestingIsAllowedUpToItsLimitInsideAndOut(t *testing.T) {
	ask(t, "backtest", "", "", `{"payload":`+nested(maxDepth-1)+`}`)
	ask(t, "backtest", "", "", `{"payload":`+quoted(nested(maxDepth))+`}`)
	ask(t, "run-backtest", "b", "", nested(maxDepth))
	revision(t, `{"bot":{"payload":`+quoted(nested(maxDepth))+`}}`)
}
