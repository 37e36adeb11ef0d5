package keying

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// A Route is a row of the contract's first table: where the request comes in, what its answer depends
// on, and how an answer shows that it succeeded. Adding a route is adding a row.
type Route struct {
	Name   string // a short label for metrics
	Method string
	Kind   Kind

	prefix, suffix string // the path, or what is around its parameter
	param          param
	defaults       []field  // body fields that have a default, filled in
	ignored        []string // body fields that the server doesn't look at though browsers send them
	parts          parts    // of a bot's revision that count
	payload        payload
	read           func(*Request, *input) error // what is particular to the route
	answer         map[string]check             // fields that a successful answer must have

	// What two answers that say the same may differ in (trap 9): fields that are not compared, and those
	// that one of them may lack. Paths from the top, joined by dots.
	volatile, optional []string
}

// param says what the path's parameter is.
type param int

const (
	noParam param = iota
	botParam
	tickerParam
)

// payload says what the route takes for a strategy in its body.
type payload int

const (
	noPayload       payload = iota
	requiredPayload         // an object, or a string holding one
	optionalPayload         // an object; whatever else is kept as it is
)

// A field is a body field with a default. Its default stands in for a missing one only (the server
// destructures), unless or says otherwise.
type field struct {
	name string
	def  value
	or   func(*value) bool
}

// sanityOptions are those of both sanity routes (R3, R4).
var sanityOptions = []field{
	{name: "years", def: number(5)},
	{name: "blockSize", def: number(7)},
	{name: "shards", def: number(10)},
	{name: "seed", def: number(42)},
	{name: "benchmarkTicker", def: text("SPY")},
}

var correlationOptions = []field{
	{name: "metric", def: text("correlation")},
	{name: "period", def: text("full")},
}

var backtestAnswer = map[string]check{
	"success": isTrue, "metrics": isObject, "equityCurve": isCurve, "benchmarkCurve": isArray, "allocations": isArray,
}

var routes = []*Route{
	{
		Name: "run-backtest", Method: "POST", Kind: Backtest, // R1
		prefix: "/api/bots/", suffix: "/run-backtest", param: botParam, parts: strategyPart,
		defaults: []field{
			{name: "mode", def: text("CC"), or: falsy},
			{name: "costBps", def: number(5), or: null},
			{name: "benchmarkTicker", def: text("SPY"), or: falsy},
		},
		read: readRunBacktest, answer: backtestAnswer,
		// The server's own hits lack what it did not store.
		volatile: []string{"cached", "cachedAt", "compression.compressionTimeMs"}, optional: []string{"compression", "days"},
	},
	{
		Name: "backtest", Method: "POST", Kind: Backtest, // R2
		prefix: "/api/backtest", payload: requiredPayload,
		defaults: []field{
			{name: "mode", def: text("CC")},
			{name: "costBps", def: number(5)},
			{name: "customIndicators", def: value{kind: '['}},
			{name: "benchmarkTicker", def: text("SPY")},
			{name: "engine", def: text("node")},
		},
		answer:   backtestAnswer,
		volatile: []string{"compression.compressionTimeMs"},
	},
	{
		Name: "bot-sanity", Method: "POST", Kind: Sanity, // R3: mode and costs are the stored ones
		prefix: "/api/bots/", suffix: "/sanity-report", param: botParam, parts: strategyPart | settingsPart,
		defaults: sanityOptions, ignored: []string{"mode", "costBps", "oosStartDate"},
		read: readSanity, answer: map[string]check{"success": isTrue, "report": isReport},
		volatile: []string{"cached", "cachedAt", "report.meta.generatedAt"},
	},
	{
		Name: "sanity", Method: "POST", Kind: Sanity, // R4
		prefix: "/api/sanity-report", payload: requiredPayload,
		defaults: append([]field{
			{name: "mode", def: text("CC")},
			{name: "costBps", def: number(5)},
		}, sanityOptions...),
		read: readSanity, answer: map[string]check{"success": isTrue, "report": isReport},
		volatile: []string{"cached", "report.meta.generatedAt"},
	},
	{
		Name: "correlation-optimize", Method: "POST", Kind: Correlation, // R9
		prefix: "/api/correlation/optimize", parts: strategyPart | settingsPart | metricsPart,
		defaults: append([]field{{name: "maxWeight", def: value{kind: '0', text: "0.4"}}}, correlationOptions...),
		read:     readOptimize,
		answer: map[string]check{
			"validBotIds": isAll, "weights": isArray, "correlationMatrix": isArray, "portfolioMetrics": isObject,
		},
	},
	{
		Name: "correlation-recommend", Method: "POST", Kind: Correlation, // R10
		prefix: "/api/correlation/recommend", parts: strategyPart | settingsPart | metricsPart,
		defaults: append([]field{
			{name: "currentBotIds", def: value{kind: '['}},
			{name: "limit", def: number(3)},
		}, correlationOptions...),
		read: readRecommend, answer: map[string]check{"recommendations": isAll},
	},
	{
		Name: "indicator-series", Method: "POST", Kind: Indicators, // R8: the default mode is OC here
		prefix: "/api/indicator-series", payload: optionalPayload,
		defaults: []field{{name: "mode", def: text("OC")}},
		read:     readIndicators, answer: map[string]check{"indicatorOverlays": isOverlays},
	},
	{
		Name: "benchmarks", Method: "GET", Kind: Benchmarks, // R5
		prefix: "/api/benchmarks/metrics",
		read:   readBenchmarks, answer: map[string]check{"success": isTrue, "benchmarks": hasTickers},
		volatile: []string{"dataDate"}, // a text that is remembered for a while; the generation covers it
	},
	{
		Name: "candles", Method: "GET", Kind: Candles, // R6
		prefix: "/api/candles/", param: tickerParam,
		read: readCandles, answer: map[string]check{"ticker": isTicker, "candles": isCandles},
	},
	{
		Name: "candles-batch", Method: "POST", Kind: Candles, // R7
		prefix:   "/api/candles/batch",
		defaults: []field{{name: "limit", def: number(1500)}},
		read:     readBatch, answer: map[string]check{"success": isTrue, "results": hasCandles},
		volatile: []string{"meta.cached", "meta.fetched", "meta.elapsed"},
	},
}

// Bot is the bot that the path's parameter names; "" on routes where it is none.
func (r *Route) Bot(param string) string {
	if r.param == botParam {
		return param
	}
	return ""
}

// SavesMetrics reports whether the server saves a bot's metrics as it answers (trap 7).
func (r *Route) SavesMetrics() bool { return r.param == botParam && r.Kind == Backtest }

// Routes is the table.
func Routes() []*Route { return append([]*Route(nil), routes...) }

// Match finds the route of a request by its exact spelling. Express would take other spellings for the
// same route (trap 12); they pass uncached. param is the decoded bot id or ticker. A parameter that is
// empty, "." or "..", or whose escapes Express can't decode, doesn't match, nor does the bot id "trash".
func Match(method, escapedPath string) (r *Route, param string, ok bool) {
	for _, r := range routes {
		if r.Method != method {
			continue
		}
		if r.param == noParam {
			if escapedPath == r.prefix {
				return r, "", true
			}
			continue
		}
		rest, ok := strings.CutPrefix(escapedPath, r.prefix)
		if !ok {
			continue
		}
		segment, ok := strings.CutSuffix(rest, r.suffix)
		if !ok || !plainSegment(segment) {
			continue
		}
		param, err := url.PathUnescape(segment)
		if err != nil || !validParam(r.param, param) {
			continue
		}
		return r, param, true
	}
	return nil, "", false
}

// plainSegment reports whether s is a path segment of RFC 3986, section 3.3: other bytes are respelled
// on their way by some clients and servers, and not by others.
func plainSegment(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("-._~%!$&'()*+,;=:@", c) < 0 {
			return false
		}
	}
	return s != ""
}

func validParam(p param, s string) bool {
	if p == botParam {
		return validBot(s)
	}
	return s != "" && s != "." && s != ".." && utf8.ValidString(s)
}

// validBot reports whether a bot of that id can be asked for at /api/bots/:id.
func validBot(id string) bool {
	return id != "" && id != "." && id != ".." && id != "trash" && utf8.ValidString(id)
}
