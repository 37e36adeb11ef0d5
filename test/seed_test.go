package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"warmfront/test/harness"
	"warmfront/warm/seed"
)

// nexusBots are the bots whose curves are correlated.
var nexusBots = []string{"bot-1", "bot-2", "bot-3", "bot-4", "bot-5", "bot-6"}

func TestNodeReadsTheSeedsKeysAsItsOwn(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	pg, err := lab.StartPostgres()
	ok(t, err)
	t.Cleanup(pg.Stop)
	prices, err := lab.Prices()
	ok(t, err)
	s := seed.New(dialRedis(t, r), "warmfront:", pg.URL, zap.NewNop())

	report, err := s.Candles(limit(t), prices, nil)
	ok(t, err)
	if report.Skipped > 0 {
		t.Errorf("candles: %+v", report)
	}
	payloads := savedPayloads(t, up)
	indicators, err := s.Indicators(limit(t), prices, slices.Values(payloads), nil)
	ok(t, err)
	if indicators.Skipped > 0 {
		t.Errorf("indicators: %+v", indicators)
	}
	correlations, err := s.Correlations(limit(t), curvesOf(t, up, nexusBots), nil)
	ok(t, err)

	got := readByNode(t, r, prices, payloads)
	pairs := len(nexusBots) * (len(nexusBots) - 1) / 2
	if got["candles"] != report.Written || got["indicators"] != indicators.Written || got["correlations"] != pairs || correlations.Rows != pairs {
		t.Errorf("Node found %v; written were %d candles, %d indicators, %d correlations and %d rows", got, report.Written, indicators.Written, correlations.Written, correlations.Rows)
	}
	sameInTheTable(t, r, pg)
}

// The server appends to its files in place while the seed reads them.
func TestCandlesAreWholeWhileTheServerRewritesItsFiles(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, nil), redisServer(t)
	dir := t.TempDir()
	prices, err := lab.Prices()
	ok(t, err)
	ok(t, os.CopyFS(dir, os.DirFS(prices)))
	whole, err := os.ReadFile(filepath.Join(dir, "SPY.parquet"))
	ok(t, err)
	s := seed.New(dialRedis(t, r), "warmfront:", "", zap.NewNop())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		f, err := os.OpenFile(filepath.Join(dir, "SPY.parquet"), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = f.Truncate(int64(len(whole) / 2 * (i % 2)))
				_, _ = f.WriteAt(whole, 0)
			}
		}
	}()
	for range 5 {
		_, err := s.Candles(limit(t), dir, nil)
		ok(t, err)
	}
	close(stop)
	<-stopped
	ok(t, os.WriteFile(filepath.Join(dir, "SPY.parquet"), whole, 0o600))
	_, err = s.Candles(limit(t), dir, nil)
	ok(t, err)
	_, err = s.Indicators(limit(t), dir, slices.Values(savedPayloads(t, up)), nil)
	ok(t, err)
	readByNode(t, r, dir, savedPayloads(t, up))
}

// savedPayloads are the strategies of all bots of the stand-in, as its answers show them.
func savedPayloads(t *testing.T, up *harness.Upstream) (payloads [][]byte) {
	t.Helper()
	for _, user := range []string{"user-a", "user-b"} {
		answer := parsed[struct {
			Bots []struct{ Payload json.RawMessage }
		}](t, get(t, up.URL+"/api/bots?userId="+user))
		for _, bot := range answer.Bots {
			payloads = append(payloads, bot.Payload)
		}
	}
	if len(payloads) < 12 {
		t.Fatalf("the stand-in shows %d bots", len(payloads))
	}
	return payloads
}

func curvesOf(t *testing.T, up *harness.Upstream, bots []string) (curves []seed.Curve) {
	t.Helper()
	for _, bot := range bots {
		body, err := post(t, up.URL+"/api/bots/"+bot+"/run-backtest", `{}`).Body()
		ok(t, err)
		c, err := seed.ReadCurve(bot, body)
		ok(t, err)
		curves = append(curves, c)
	}
	return curves
}

// readByNode gives what the Node program found and holds right.
func readByNode(t *testing.T, r *harness.Redis, prices string, payloads [][]byte) (found map[string]int) {
	t.Helper()
	raw := make([]json.RawMessage, len(payloads))
	for i := range payloads {
		raw[i] = payloads[i]
	}
	input, err := json.Marshal(raw)
	ok(t, err)
	node := exec.CommandContext(limit(t), "node", filepath.Join("seedreader", "read.mjs"), strconv.Itoa(r.Port), prices)
	node.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	node.Stderr = &stderr
	out, err := node.Output()
	if err != nil {
		t.Fatalf("Node found something wrong: %v\n%s", err, &stderr)
	}
	ok(t, json.Unmarshal(out, &found))
	return found
}

// sameInTheTable compares the table with the keys.
func sameInTheTable(t *testing.T, r *harness.Redis, pg *harness.Postgres) {
	t.Helper()
	c, err := pgx.Connect(limit(t), pg.URL)
	ok(t, err)
	defer c.Close(limit(t))
	rows, err := c.Query(limit(t), `SELECT bot1_id, bot2_id, correlation FROM nexus_correlations`)
	ok(t, err)
	rdb := dialRedis(t, r)
	var a, b string
	var rho float32
	_, err = pgx.ForEachRow(rows, []any{&a, &b, &rho}, func() error {
		got, err := rdb.Get(limit(t), "correlation:"+a+":"+b).Float64()
		if err == nil && float32(got) != rho {
			err = fmt.Errorf("%s, %s: %v in Redis, %v in the table", a, b, got, rho)
		}
		return err
	})
	ok(t, err)
}
