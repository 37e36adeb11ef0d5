package test

import (
	"fmt"
	"path/filepath"
	"testing"

	"warmfront/test/harness"
)

// A run does the server's nightly jobs for it: Node finds the sets as its own code would read them.
func TestARunSeedsTheServersOwnKeysAndTheTable(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	pg, err := lab.StartPostgres()
	ok(t, err)
	t.Cleanup(pg.Stop)
	prices := filepath.Join(up.DataDir, "parquet")
	w := warmfront(t, up.URL, warming(harness.Env{
		"REDIS_URL": r.URL(), "PARQUET_DIR": prices, "CORRELATIONS_DATABASE_URL": pg.URL,
		"UPSTREAM_EMAIL": "admin@example.com", "UPSTREAM_PASSWORD": "admin-password",
	}))
	expect(t, post(t, w.URL+"/_warmfront/warm", "", "Authorization: Bearer "+adminToken), 202)
	var last *harness.Answer
	until(t, func() error {
		last = get(t, w.URL+"/_warmfront/warm", "Authorization: Bearer "+adminToken)
		p := parsed[struct {
			Running bool
			LastRun *struct{ Jobs map[string]any }
		}](t, last)
		if p.Running || p.LastRun == nil || len(p.LastRun.Jobs) != 3 {
			return fmt.Errorf("not every job is done\n%s", last)
		}
		return nil
	})
	got := readByNode(t, r, prices, savedPayloads(t, up))
	pairs := len(nexusBots) * (len(nexusBots) - 1) / 2
	if got["candles"] != 30 || got["indicators"] < 30 || got["correlations"] != pairs {
		t.Errorf("Node found %v, expected the candles of 30 tickers, their bots' indicators and %d correlations\n%s", got, pairs, last)
	}
	sameInTheTable(t, r, pg)
}

func TestWithoutPriceFilesARunCorrelatesTheNexusBotsOnly(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	w := warmfront(t, up.URL, warming(harness.Env{"REDIS_URL": r.URL(), "PARQUET_DIR": filepath.Join(up.DataDir, "no-such-place")}))
	expect(t, post(t, w.URL+"/_warmfront/warm", "", "Authorization: Bearer "+adminToken), 202)
	until(t, func() error {
		a := get(t, w.URL+"/_warmfront/warm", "Authorization: Bearer "+adminToken)
		p := parsed[struct {
			Running bool
			Failed  int
			LastRun *struct {
				Failed   int
				Failures map[string]int
				Jobs     map[string]struct{ Written int }
			}
		}](t, a)
		pairs := len(nexusBots) * (len(nexusBots) - 1) / 2
		if p.Running || p.LastRun == nil || p.LastRun.Jobs["seed-correlations"].Written != pairs {
			return fmt.Errorf("the correlations are not written\n%s", a)
		}
		if p.LastRun.Failures["seed-candles"] != 1 || p.LastRun.Failed != 2 {
			t.Fatalf("a directory that isn't there is no failure of two jobs\n%s", a)
		}
		return nil
	})
}
