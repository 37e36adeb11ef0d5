package seed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// database is an empty Postgres for one test, and a connection to look into it.
func database(t *testing.T) (url string, c *pgx.Conn) {
	t.Helper()
	pg, err := lab.StartPostgres()
	ok(t, err)
	t.Cleanup(pg.Stop)
	return pg.URL, connect(t, pg.URL)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func count(t *testing.T, c *pgx.Conn) (n int) {
	t.Helper()
	ok(t, c.QueryRow(t.Context(), `SELECT count(*) FROM nexus_correlations`).Scan(&n))
	return n
}

func manyCurves(n int) (curves []Curve) {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range n {
		curves = append(curves, curve(fmt.Sprintf("bot-%03d", i), random, 0, 40))
	}
	return curves
}

func toTable(url string) *Seeder { return New(nil, "warmfront:", url, zap.NewNop()) }

func TestTableIsMadeAndReplaced(t *testing.T) {
	url, c := database(t)
	s := toTable(url)
	for _, bots := range []int{40, 70, 3} {
		curves := manyCurves(bots)
		report, err := s.Correlations(t.Context(), curves, nil)
		ok(t, err)
		pairs := bots * (bots - 1) / 2
		if n := count(t, c); n != pairs || report.Rows != pairs || report.Written != 0 {
			t.Errorf("%d rows, expected %d; %+v", n, pairs, report)
		}
		rows, err := c.Query(t.Context(), `SELECT bot1_id, bot2_id, correlation FROM nexus_correlations WHERE bot1_id = 'bot-001' OR bot2_id = 'bot-001'`)
		ok(t, err)
		var a, b string
		var rho float32
		_, err = pgx.ForEachRow(rows, []any{&a, &b, &rho}, func() error {
			index := func(id string) int { return slices.IndexFunc(curves, func(c Curve) bool { return c.Bot == id }) }
			want, _ := slowly(curves[index(a)], curves[index(b)])
			if a >= b || float32(want)-rho > 1e-6 || rho-float32(want) > 1e-6 {
				t.Errorf("%s, %s: %v, expected %v", a, b, rho, want)
			}
			return nil
		})
		ok(t, err)
	}
	var columns, indexes string
	ok(t, c.QueryRow(t.Context(), `SELECT string_agg(column_name || ' ' || data_type || ' ' || coalesce(column_default, ''), ', ' ORDER BY ordinal_position)
		FROM information_schema.columns WHERE table_name = 'nexus_correlations'`).Scan(&columns))
	ok(t, c.QueryRow(t.Context(), `SELECT string_agg(indexdef, ', ') FROM pg_indexes WHERE tablename = 'nexus_correlations'`).Scan(&indexes))
	if want := "id integer nextval('nexus_correlations_id_seq'::regclass), bot1_id text , bot2_id text , correlation real , computed_at timestamp without time zone now()"; columns != want {
		t.Errorf("the columns are\n%s, expected\n%s", columns, want)
	}
	for _, want := range []string{"UNIQUE INDEX nexus_correlations_bot1_id_bot2_id_key", "idx_corr_lookup ON public.nexus_correlations USING btree (bot1_id, bot2_id)", "nexus_correlations_pkey"} {
		if !strings.Contains(indexes, want) {
			t.Errorf("the indexes are %s, expected %s", indexes, want)
		}
	}
}

func TestReaderNeverSeesAHalfFilledTable(t *testing.T) {
	url, c := database(t)
	s := toTable(url)
	sizes := []int{60, 90}
	_, err := s.Correlations(t.Context(), manyCurves(sizes[1]), nil)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	polls := 0
	wait.Go(func() {
		for ctx.Err() == nil {
			polls++
			if n := count(t, c); n != 60*59/2 && n != 90*89/2 {
				t.Errorf("a reader saw %d rows", n)
				return
			}
		}
	})
	for i := range 10 {
		_, err := s.Correlations(t.Context(), manyCurves(sizes[i%2]), nil)
		ok(t, err)
	}
	cancel()
	wait.Wait()
	if polls < 20 {
		t.Errorf("only %d polls in 10 replacements: the reader waited", polls)
	}
}

func TestReplacementThatEndsEarlyKeepsTheOldRows(t *testing.T) {
	url, c := database(t)
	s := toTable(url)
	_, err := s.Correlations(t.Context(), manyCurves(40), nil)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.Correlations(ctx, manyCurves(100), func(done, total int) {
		if done > total/2 {
			cancel()
		}
	}); err == nil {
		t.Error("stopped without an error")
	}
	if n := count(t, c); n != 40*39/2 {
		t.Errorf("%d rows after a run that was stopped", n)
	}
	if _, err := s.Correlations(t.Context(), manyCurves(1), nil); err != nil || count(t, c) != 40*39/2 {
		t.Errorf("a run without pairs changed the table (%v)", err)
	}
	ok(t, func() error {
		_, err := c.Exec(t.Context(), `ALTER TABLE nexus_correlations ADD CHECK (bot1_id <> 'bot-090')`)
		return err
	}())
	if _, err := s.Correlations(t.Context(), manyCurves(100), nil); err == nil || !strings.Contains(err.Error(), "CORRELATIONS_DATABASE_URL") {
		t.Errorf("a refused row gave %v", err)
	}
	if n := count(t, c); n != 40*39/2 {
		t.Errorf("%d rows after a run that was refused", n)
	}
}

func TestReplacersAndTheServersOwnJobFollowEachOther(t *testing.T) {
	url, c := database(t) // without the table: all of them want to make it
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 3 {
				if _, err := toTable(url).Correlations(t.Context(), manyCurves(50), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := count(t, c); n != 50*49/2 {
		t.Errorf("%d rows", n)
	}
	// The job of the server's own knows nothing of the replacers' lock.
	_, err := c.Exec(t.Context(), `SET lock_timeout = '50ms'`)
	ok(t, err)
	insert := func() error {
		_, err := c.Exec(t.Context(), `INSERT INTO nexus_correlations (bot1_id, bot2_id, correlation) VALUES ('bot-000', 'of another', 0)`)
		return err
	}
	var during error
	_, err = toTable(url).Correlations(t.Context(), manyCurves(20), func(int, int) { during = insert() })
	ok(t, err)
	if refused, ok := errors.AsType[*pgconn.PgError](during); !ok || refused.Code != "55P03" {
		t.Errorf("a write in the middle of a replacement gave %v, expected that it has to wait", during)
	}
	ok(t, insert())
}

func TestTableThatExistsNeedsNoRightToMakeOne(t *testing.T) {
	url, c := database(t)
	for _, sql := range []string{createTable, `CREATE ROLE writer LOGIN`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`,
		`GRANT SELECT, INSERT, DELETE, UPDATE ON nexus_correlations TO writer`, `GRANT USAGE ON nexus_correlations_id_seq TO writer`} {
		_, err := c.Exec(t.Context(), sql)
		ok(t, err)
	}
	_, err := toTable(strings.Replace(url, "warmfront@", "writer@", 1)).Correlations(t.Context(), manyCurves(30), nil)
	ok(t, err)
	if n := count(t, c); n != 30*29/2 {
		t.Errorf("%d rows", n)
	}
}

func TestNeitherRedisNorPostgresWaitsForTheOthersSuccess(t *testing.T) {
	url, c := database(t)
	r, rdb := startRedis(t)
	nowhere := "postgres://warmfront:secret@127.0.0.1:1/x?sslmode=disable"
	report, err := New(rdb, "warmfront:", nowhere, zap.NewNop()).Correlations(t.Context(), manyCurves(10), nil)
	if err == nil || report.Written != 45 || report.Rows != 0 || strings.Contains(err.Error(), "secret") {
		t.Errorf("without Postgres: %+v, %v", report, err)
	}
	r.Kill()
	report, err = New(rdb, "warmfront:", url, zap.NewNop()).Correlations(t.Context(), manyCurves(10), nil)
	if err == nil || report.Rows != 45 || report.Written != 0 || count(t, c) != 45 {
		t.Errorf("without Redis: %+v, %v", report, err)
	}
	report, err = New(rdb, "warmfront:", nowhere, zap.NewNop()).Correlations(t.Context(), manyCurves(10), nil)
	if err == nil || report.Rows != 0 || report.Written != 0 {
		t.Errorf("without both: %+v, %v", report, err)
	}
}
