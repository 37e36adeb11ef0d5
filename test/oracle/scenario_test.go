package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// Where the lack of a rule shows only after several things in a certain order, random operations would
// take too long. These are such orders; what they are answered is checked as everything is.

func posted(kind, path string, body map[string]any) Op {
	return Op{Kind: kind, Replica: 1, Method: "POST", Path: path, Body: body}
}

func pause(ms int) Op { return Op{Kind: "pause", TookMS: ms} }

// restated is a sync that rewrites history and moves no date, until it is over for everybody.
func restated(tookMS int, meanwhile ...Op) []Op {
	ops := append([]Op{{Kind: "sync", Mode: "restate", TookMS: tookMS}, {Kind: "noticed"}, {Kind: "synced"}}, meanwhile...)
	return append(ops, Op{Kind: "settled"})
}

// behindTheData: a sync that only adds a day leaves the server with the bars that it has in memory, which end before.
func behindTheData() []Op {
	return repeated(1, slices.Concat([]Op{runOf(0, 0, "CC")}, synced("append"), []Op{unexcused(), runOf(0, 0, "CC"), runOf(0, 0, "CC"), runOf(0, 1, "CC")})...)
}

// repeated is a scenario several times.
func repeated(times int, ops ...Op) (all []Op) {
	for range times {
		all = append(all, ops...)
	}
	return renumbered(all)
}

// staleBars: what an admin clears is what answers were made of that were kept since a sync that changed
// no date, and so did not show that the server computes from the bars of before.
func staleBars() []Op {
	return repeated(3, slices.Concat(
		[]Op{{Kind: "memory-lost"}, pause(500)}, restated(200),
		[]Op{
			runOf(0, 0, "CC"), runOf(0, 0, "CC"),
			posted("invalidate", "/api/admin/cache/invalidate", map[string]any{}),
		},
		pushedOut(), []Op{runOf(0, 0, "CC"), runOf(1, 0, "CC")},
	)...)
}

// pushedOut has the server build so many price databases that none of before is left.
func pushedOut() (ops []Op) {
	for i := range 50 {
		ticker := fmt.Sprint("ZZ", i)
		ops = append(ops, Op{Kind: "push-out", Replica: -1, Method: "POST", Path: "/api/backtest",
			Raw: `{"payload":"{\"id\":\"p\",\"kind\":\"position\",\"positions\":[\"` + ticker + `\"]}","benchmarkTicker":"` + ticker + `"}`})
	}
	return ops
}

// oldRows: a correlation of rows from before a restatement, which go when the bots are run in another
// mode, one that a restatement does not concern, so that their metrics are what they were.
func oldRows() []Op {
	return repeated(3, slices.Concat(
		[]Op{runOf(0, 2, "OO"), runOf(0, 3, "OO"), optimizeOf(0, 2, 3)}, restated(200),
		[]Op{optimizeOf(0, 2, 3), runOf(0, 2, "OO"), runOf(0, 3, "OO"), optimizeOf(0, 2, 3)},
	)...)
}

// acrossASync: an answer that the server gave before a sync comes after it.
func acrossASync(p *Plan) []Op {
	p.Workers = 2
	late := getOf("candles", 0, "/api/candles/PG?limit=60")
	late.LateMS = 4000
	again := getOf("candles", 0, late.Path)
	return repeated(1, slices.Concat([]Op{late}, restated(200), []Op{{Kind: "quiet"}, again, again})...)
}

// oldRow: a bot's row at the server is of before a sync until somebody else has it made anew.
func oldRow() []Op {
	anew := runOf(-1, 2, "CC")
	anew.Body["forceRefresh"], anew.Check = true, false
	return repeated(1, slices.Concat(
		[]Op{runOf(0, 2, "CC")}, restated(200, Op{Kind: "memory-lost"}),
		[]Op{runOf(0, 2, "CC"), anew, runOf(0, 2, "CC"), runOf(0, 2, "CC")},
	)...)
}

// lateTicker: rows are made between the last change that can be seen of a sync and the change of a ticker
// that is not watched, because bots use more than that. They outlive the sync.
func lateTicker(p *Plan) []Op {
	between := int(p.SyncTook.Milliseconds()) * (2*at("XOM") - 1) / (2 * len(tickers))
	return repeated(1,
		adhocOf(4), runOf(0, 0, "CC"), runOf(0, 1, "CC"), runOf(0, 3, "CC"), pause(500), optimizeOf(0, 0, 3), pause(500),
		posted("download", "/api/download", map[string]any{"mode": "full"}), pause(between),
		runOf(0, 2, "OO"), runOf(0, 3, "OO"), optimizeOf(0, 2, 3),
		Op{Kind: "synced"}, Op{Kind: "settled"},
		optimizeOf(0, 2, 3), runOf(0, 2, "OO"), runOf(0, 3, "OO"), optimizeOf(0, 2, 3),
	)
}

// at is a ticker's place in the order in which a sync rewrites them.
func at(ticker string) int {
	return strings.Count(strings.SplitN(strings.Join(tickers, " ")+" ", ticker+" ", 2)[0], " ")
}

// otherBenchmarks: a bot's row is of another benchmark, and is gone before what came from it is asked for again.
func otherBenchmarks() (ops []Op) {
	for bot := range 4 {
		other := runOf(1, bot, "CC")
		other.Body["benchmarkTicker"] = "QQQ"
		ops = append(ops, other, runOf(0, bot, "CC"), runOf(1, bot, "OO"), runOf(0, bot, "CC"))
	}
	return renumbered(ops)
}

// busyServer: a bot is changed around Warmfront, and the server has no time to say so.
func busyServer() []Op {
	return repeated(1, runOf(0, 0, "CC"), runOf(0, 0, "CC"), editOf(-1, 0, 1), Op{Kind: "busy", TookMS: 8000}, pause(5000), runOf(0, 0, "CC"))
}
