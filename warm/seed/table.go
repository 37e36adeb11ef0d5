package seed

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// advisory is the lock that replacers of the table take, so that two of them follow each other. The
// number is arbitrary, and must stay.
const advisory = 0x77617266636f7272

// As the contract and the design document have it.
const createTable = `CREATE TABLE nexus_correlations (
  id SERIAL PRIMARY KEY,
  bot1_id TEXT NOT NULL,
  bot2_id TEXT NOT NULL,
  correlation REAL NOT NULL,
  computed_at TIMESTAMP NOT NULL DEFAULT now(),
  UNIQUE (bot1_id, bot2_id)
);
CREATE INDEX idx_corr_lookup ON nexus_correlations (bot1_id, bot2_id)`

// A table is nexus_correlations while it is being replaced, in one transaction. DELETE, not TRUNCATE:
// readers go on seeing the old rows until the commit, and never wait.
type table struct {
	conn *pgx.Conn
	tx   pgx.Tx
	all  int64
}

func openTable(ctx context.Context, url string) (t *table, err error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // without the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 15 * time.Second
	}
	t = &table{}
	if t.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	if err = t.begin(ctx); err != nil {
		t.close(ctx)
		return nil, err
	}
	return t, nil
}

func (t *table) begin(ctx context.Context) (err error) {
	if t.tx, err = t.conn.Begin(ctx); err != nil {
		return err
	}
	if _, err := t.tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(advisory)); err != nil {
		return fmt.Errorf("waiting for another replacer: %w", err)
	}
	var exists bool
	if err := t.tx.QueryRow(ctx, `SELECT to_regclass('nexus_correlations') IS NOT NULL`).Scan(&exists); err != nil {
		return err
	}
	if !exists { // not IF NOT EXISTS, which needs the right to create even then
		if _, err := t.tx.Exec(ctx, createTable); err != nil {
			return fmt.Errorf("creating nexus_correlations: %w", err)
		}
	}
	// A writer that knows nothing of our lock, such as the server's own job, waits or is waited for; a
	// reader does neither.
	if _, err := t.tx.Exec(ctx, `LOCK TABLE nexus_correlations IN SHARE ROW EXCLUSIVE MODE`); err != nil {
		return err
	}
	_, err = t.tx.Exec(ctx, `DELETE FROM nexus_correlations`)
	return err
}

func (t *table) add(ctx context.Context, n int, row func(i int) (a, b string, rho float64)) error {
	copied, err := t.tx.CopyFrom(ctx, pgx.Identifier{"nexus_correlations"}, []string{"bot1_id", "bot2_id", "correlation"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			a, b, rho := row(i)
			return []any{a, b, float32(rho)}, nil
		}))
	t.all += copied
	return err
}

// close ends the transaction, if it wasn't committed by undoing it.
func (t *table) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = t.conn.Close(ctx) // the server rolls back what was not committed
}

func tableSink(ctx context.Context, url string, all []returns, r *Report) *sink {
	wrap := func(err error) error {
		if err != nil {
			return fmt.Errorf("correlations to Postgres (CORRELATIONS_DATABASE_URL): %w", err)
		}
		return nil
	}
	t, err := openTable(ctx, url)
	if err != nil {
		return &sink{err: wrap(err)}
	}
	return &sink{
		put: func(pairs []pair) error {
			return wrap(t.add(ctx, len(pairs), func(i int) (a, b string, rho float64) {
				p := pairs[i]
				return all[p.a].bot, all[p.b].bot, p.rho
			}))
		},
		commit: func() error {
			if err := t.tx.Commit(ctx); err != nil {
				return wrap(err)
			}
			r.Rows = int(t.all)
			return nil
		},
		close: func(bool) { t.close(ctx) },
	}
}
