package seed

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"warmfront/keying"
)

// A triple names one indicator.
type triple struct {
	ticker, metric string
	period         int
}

func (t triple) key() string {
	return "indicator:" + t.ticker + ":" + t.metric + ":" + strconv.Itoa(t.period)
}

// ourIndicator reports whether this package may have written an indicator's key.
func ourIndicator(key string) bool {
	parts, ok := shaped(key, "indicator", 3)
	if !ok {
		return false
	}
	_, _, known := formulaOf(parts[1])
	_, isPeriod := period(parts[2])
	return known && isPeriod
}

// Reasons for leaving an indicator out.
const (
	branchRef     = "branch reference"
	ratioTicker   = "ratio ticker"
	badTicker     = "bad ticker"
	unknownMetric = "unknown metric"
	badWindow     = "bad window"
	noPrices      = "no prices"
	badPayload    = "bad payload"
)

const (
	maxPayload = 16 << 20 // a decoded payload takes ten times its text
	maxWindow  = 1 << 20
)

// A reference is an indicator as a tree spells it.
type reference struct {
	ticker, metric string
	window         float64 // 0 if the tree has none
}

// references holds the distinct indicators of many trees.
type references map[reference]struct{}

// add collects the indicators of a bot's tree: a JSON object, or a string that holds one.
func (found references) add(payload []byte) error {
	if len(payload) > maxPayload {
		return errors.New("the payload is too large")
	}
	var tree any
	if err := keying.ReadJSON(payload, &tree); err != nil {
		return err
	}
	if text, ok := tree.(string); ok {
		tree = nil
		if err := keying.ReadJSON([]byte(text), &tree); err != nil {
			return err
		}
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return errors.New("the payload is no object")
	}
	found.node(root)
	return nil
}

// node walks a node as section 8 of the details describes them. The decoder bounds the nesting, to 10 000.
func (found references) node(node map[string]any) {
	found.conditions(node["conditions"])
	found.conditions(node["entryConditions"]) // of altExit
	found.conditions(node["exitConditions"])
	if numbered, ok := node["numbered"].(map[string]any); ok {
		for item := range objects(numbered["items"]) {
			found.conditions(item["conditions"])
		}
	}
	found.note(node["scaleTicker"], node["scaleMetric"], node["scaleWindow"])
	for _, ticker := range positions(node) {
		found.note(ticker, "close", 1.0) // what the server's own job does for a position
	}
	ranks := node["kind"] == "function"
	slots, _ := node["children"].(map[string]any)
	for _, slot := range slots {
		for child := range objects(slot) {
			found.node(child)
			if !ranks {
				continue
			}
			// A function node ranks its children by its metric: of a position, by its tickers'. What it
			// takes of a larger child depends on the day.
			for _, ticker := range positions(child) {
				found.note(ticker, node["metric"], node["window"])
			}
		}
	}
}

func (found references) conditions(list any) {
	for c := range objects(list) {
		found.note(c["ticker"], c["metric"], c["window"])
		found.note(c["rightTicker"], c["rightMetric"], c["rightWindow"])
	}
}

// note adds a reference, unless it is none: the fields of a right side are there when unused, too.
func (found references) note(ticker, metric, window any) {
	t, _ := ticker.(string)
	m, _ := metric.(string)
	t = strings.ToUpper(strings.TrimSpace(t))
	if t == "" || t == "EMPTY" || m == "" {
		return
	}
	found[reference{t, m, number(window)}] = struct{}{}
}

// number is JavaScript's view of a number that may be a string; NaN, which is no map key, becomes 0.
func number(v any) float64 {
	f := 0.0
	switch v := v.(type) {
	case float64:
		f = v
	case string:
		f, _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
	}
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// triple is what is written for a reference, or the reason why nothing is.
func (r reference) triple() (t triple, reason string) {
	if strings.HasPrefix(r.ticker, "BRANCH:") {
		return t, branchRef
	}
	if strings.Contains(r.ticker, "/") {
		return t, ratioTicker
	}
	if !plain(r.ticker) {
		return t, badTicker
	}
	_, windowless, ok := formulaOf(r.metric)
	if !ok {
		return t, unknownMetric
	}
	n := math.Floor(r.window) // details, section 8: "window floored, min 1"
	switch {
	case n > maxWindow:
		return t, badWindow
	case n < 1 && r.window != 0 || n >= 1 || windowless:
		return triple{r.ticker, r.metric, int(max(n, 1))}, ""
	}
	return t, badWindow // none given, and which one the server takes then is not established
}

// positions are the tickers of a position node: strings, or objects with a ticker.
func positions(node map[string]any) (tickers []string) {
	list, _ := node["positions"].([]any)
	for _, p := range list {
		switch p := p.(type) {
		case string:
			tickers = append(tickers, p)
		case map[string]any:
			if t, ok := p["ticker"].(string); ok {
				tickers = append(tickers, t)
			}
		}
	}
	return tickers
}

// objects gives the objects in a list; slots hold nulls, too.
func objects(list any) func(yield func(map[string]any) bool) {
	return func(yield func(map[string]any) bool) {
		elements, _ := list.([]any)
		for _, e := range elements {
			if o, ok := e.(map[string]any); ok && !yield(o) {
				return
			}
		}
	}
}
