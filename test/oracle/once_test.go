package oracle

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// What the oracle once found, cut down to the operations that it took.

func editOf(replica, bot, strategy int) Op {
	return Op{
		Kind: "edit", Replica: replica, Method: http.MethodPut, Path: "/api/bots/" + botID(bot), Strategy: &strategy,
		Body: map[string]any{"ownerId": owner, "name": botID(bot)},
	}
}

func batchOf(replica, limit int) Op {
	return Op{
		Kind: "batch", Replica: replica, Method: http.MethodPost, Path: "/api/candles/batch",
		Body: map[string]any{"tickers": []string{"SPY"}, "limit": limit}, Check: true,
	}
}

func TestRowOfAnotherBenchmarkThatAnotherReplicaAskedForIsNotKept(t *testing.T) {
	t.Parallel()
	other := runOf(1, 1, "CC")
	other.Body["benchmarkTicker"] = "QQQ"
	once(t, usual(), 1, other, runOf(0, 1, "CC"), runOf(1, 1, "OO"), runOf(0, 1, "CC"))
}

func TestWriteWaitsForReplicasThatARestartedRedisHasNotHeardOfYet(t *testing.T) {
	t.Parallel()
	var ops []Op
	for i := range 6 {
		ops = append(ops, runOf(1, 1, "CC"), runOf(1, 1, "CC"), Op{Kind: "redis-stop"}, Op{Kind: "redis-start"},
			editOf(0, 1, i%len(strategies)), runOf(1, 1, "CC"), pause(1200))
	}
	once(t, usual(), 1, ops...)
}

func TestWriteUnderWayOutlivesTheLossOfWhatRedisKnew(t *testing.T) {
	t.Parallel()
	ops := []Op{runOf(1, 1, "CC")}
	for i := range 3 {
		edit := editOf(0, 1, i%len(strategies))
		edit.DelayMS, edit.LateMS = 1500, 500
		ops = append(ops, edit, pause(80), Op{Kind: "flush"}, pause(1200), runOf(1, 1, "CC"), runOf(1, 1, "CC"), pause(400),
			runOf(1, 1, "CC"), pause(800))
	}
	once(t, usual(), 2, ops...)
}

func TestReplicaWithoutRedisKnowsASyncThatAnotherWasAskedForByItsSigns(t *testing.T) {
	t.Parallel()
	candles := getOf("candles", 0, "/api/candles/AAPL?limit=60")
	ops := []Op{candles, {Kind: "redis-stop"}, pause(900), candles, candles, posted("download", "/api/download", map[string]any{"mode": "full"})}
	for range 20 {
		ops = append(ops, pause(30), candles)
	}
	once(t, usual(), 1, ops...)
}

func TestBatchCandlesAreNotKeptForLongWhenTheServerRemembersThemFromBeforeASync(t *testing.T) {
	t.Parallel()
	for _, admin := range []bool{false, true} {
		p := usual()
		p.Admin, p.Fresh = admin, admin
		once(t, p, 1, slices.Concat([]Op{batchOf(0, 60)}, restated(300), []Op{batchOf(0, 60), batchOf(1, 100), batchOf(0, 60)})...)
	}
}

func TestBenchmarksOfTablesFromBeforeASyncAreNotKeptForLong(t *testing.T) {
	t.Parallel()
	p := usual()
	p.Admin, p.Fresh = true, true
	benchmarks := getOf("benchmarks", 0, "/api/benchmarks/metrics?tickers=SPY")
	once(t, p, 1, slices.Concat([]Op{benchmarks}, restated(300), []Op{benchmarks, benchmarks})...)
}

// once plays the operations and lets nothing wrong pass.
func once(t *testing.T, p Plan, workers int, ops ...Op) {
	t.Helper()
	p.Workers = workers
	summary, wrong, err := play(lab, p, renumbered(ops))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(summary)
	if wrong != nil {
		t.Error(wrong)
	}
}

func TestSuccessOfOneDownloadDoesNotEndTheSyncThatBeganAfterIt(t *testing.T) {
	t.Parallel()
	p := usual()
	p.Interval, p.Settle, p.SyncTook = time.Second, 4*time.Second, 2*time.Second
	candles := getOf("candles", 0, "/api/candles/PG?limit=60")
	ops := []Op{candles}
	for range 2 {
		ops = append(ops, posted("download", "/api/download", map[string]any{"mode": "full"}), Op{Kind: "synced"},
			posted("run-now", "/api/admin/sync-schedule/run-now", map[string]any{"source": "tiingo"}))
		for range 45 {
			ops = append(ops, candles, pause(50))
		}
		ops = append(ops, Op{Kind: "synced"}, Op{Kind: "settled"})
	}
	once(t, p, 1, ops...)
}
