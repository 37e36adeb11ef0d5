package oracle

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"warmfront/test/harness"
)

// tickers are those of a small market: the alphabetically first tells the server its data date, SPY is
// the canary, and of BIL, QQQ, SPY and TLT the server keeps the bars in memory. No bot uses A and ZZZ, and
// bots use more of the others than Warmfront watches: only what others show tells that these have changed.
var tickers = []string{"A", "AAPL", "BIL", "CAT", "GE", "HD", "IBM", "KO", "MSFT", "PEP", "PG", "QQQ", "SPY", "TLT", "VXX", "XOM", "ZZZ"}

const (
	bots  = 4
	owner = "user-a"
)

func botID(bot int) string { return fmt.Sprintf("oracle-%d", bot) }

type node = map[string]any

func hold(tickers ...string) node { return node{"id": "p", "kind": "position", "positions": tickers} }

func when(ticker, metric string, window int, comparator string, threshold float64, yes, no node) node {
	condition := node{"id": "c", "type": "if", "ticker": ticker, "metric": metric, "window": window, "comparator": comparator, "threshold": threshold}
	return node{
		"id": "n", "kind": "indicator", "collapsed": false, "conditions": []node{condition},
		"children": node{"then": []node{yes}, "else": []node{no}},
	}
}

// strategies are few, so that bots are often edited back to one that they had before.
var strategies = []node{
	hold("SPY", "TLT"),
	when("SPY", "Relative Strength Index", 10, "gt", 55, hold("QQQ"), hold("BIL")),
	when("XOM", "Current Price", 1, "gt", 60, hold("XOM", "KO"), hold("PG")),
	when("AAPL", "Rate of Change", 5, "lt", 0, hold("MSFT"), hold("AAPL", "HD")),
	when("QQQ", "Simple Moving Average", 5, "gt", 80, when("SPY", "Rate of Change", 3, "gt", 0, hold("QQQ"), hold("SPY")), hold("VXX", "GE", "CAT", "IBM", "PEP")),
}

// payload is a strategy as browsers send it: a string, with fresh ids.
func payload(strategy int) string {
	if strategy >= len(strategies) {
		return strings.ReplaceAll(spelled()[strategy-len(strategies)], "~", "node-"+rand.Text()+"-")
	}
	b, err := json.Marshal(node{"id": "root", "kind": "basic", "weighting": "equal", "children": node{"next": []node{strategies[strategy]}}})
	if err != nil {
		panic(err) // it is made of nothing but JSON
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		panic(err)
	}
	return harness.FreshIDs(tree)
}

// newBot is the body that creates a bot. The last one is a nexus bot: its payload is not shown.
func newBot(bot, strategy int) map[string]any {
	visibility := "private"
	if bot == bots-1 {
		visibility = "nexus"
	}
	return map[string]any{
		"id": botID(bot), "ownerId": owner, "name": botID(bot), "visibility": visibility, "payload": payload(strategy), "tags": []string{},
	}
}
