package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

const withoutPrices = `{"error":"Not enough overlapping price data"}`

// keeper is a server that keeps things in its memory, and notes what it is told to forget.
type keeper struct {
	prices
	mu         sync.Mutex
	asked      []string                                   // of clearings and flushes, in order
	tickers    []string                                   // of the flushes
	invalidate int                                        // status; 0: 200
	backtest   func(n int, authorized bool) (int, string) // nil: as it should be
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch r.URL.Path {
	case "/api/admin/cache/invalidate":
		k.asked = append(k.asked, "invalidate")
		w.WriteHeader(max(http.StatusOK, k.invalidate))
	case "/api/admin/sync-schedule":
		fmt.Fprint(w, `{"status":{"isRunning":false},"lastSync":null}`)
	case "/api/backtest":
		body, _ := io.ReadAll(r.Body)
		_, ticker, _ := strings.Cut(string(body), `"benchmarkTicker":"`)
		k.tickers = append(k.tickers, strings.TrimSuffix(ticker, `"}`))
		if len(k.asked) == 0 || k.asked[len(k.asked)-1] != "flush" {
			k.asked = append(k.asked, "flush")
		}
		status, answer := http.StatusInternalServerError, withoutPrices
		if k.backtest != nil {
			status, answer = k.backtest(len(k.tickers), r.Header.Get("Authorization") != "")
		}
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	default:
		k.prices.ServeHTTP(w, r)
	}
}

// forgot gives what the keeper was told to forget since the last call, and the tickers that were used for it.
func (k *keeper) forgot() (asked []string, tickers []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked, tickers = k.asked, k.tickers
	k.asked, k.tickers = nil, nil
	return asked, tickers
}

// answers has the keeper answer backtests with f.
func (k *keeper) answers(f func(n int, authorized bool) (int, string)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.backtest = f
}

func (k *keeper) shows(body string) {
	k.prices.mu.Lock()
	defer k.prices.mu.Unlock()
	k.candles["SPY"] = body
}

// series gives the candles of days in January, each with a price.
func series(prices ...int) string {
	var b strings.Builder
	for i, price := range prices {
		fmt.Fprintf(&b, `,{"time":%d,"close":%d}`, time.Date(2026, 1, 10+i, 0, 0, 0, 0, time.UTC).Unix(), price)
	}
	return `{"ticker":"SPY","candles":[` + b.String()[1:] + `]}`
}

// keep gives a watch on a keeper, with an admin's login or without.
func keep(t *testing.T, login bool) (*keeper, *DataWatch) {
	t.Helper()
	k := &keeper{prices: prices{candles: map[string]string{"SPY": series(1, 2, 3)}, text: `{"dataDate":"x"}`}}
	c, _ := serve(t, k.ServeHTTP)
	fixed := ""
	if login {
		fixed = "Bearer admin"
	}
	return k, NewDataWatch(c, NewAdmin(c, "", "", fixed), alone(), DataSettings{Canaries: []string{"SPY"}, Interval: time.Hour, Settle: 0}, zap.NewNop())
}

// look polls, and gives what is known then.
func look(t *testing.T, d *DataWatch, times int) *DataState {
	t.Helper()
	for range times {
		if err := d.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	state, sure := d.Current()
	if !sure {
		t.Fatalf("not sure of %+v", state)
	}
	return state
}

func TestServerIsClearedFromTheBarsToTheRows(t *testing.T) {
	k, d := keep(t, true)
	whole := []string{"invalidate", "flush", "invalidate"}
	for _, what := range []string{"at the first look", "after a sync"} {
		state := look(t, d, 2)
		asked, tickers := k.forgot()
		distinct := slices.Compact(slices.Sorted(slices.Values(tickers)))
		if !slices.Equal(asked, whole) || len(distinct) < databases || len(distinct) != len(tickers) {
			t.Errorf("%s: asked %v with %d tickers, %d of them distinct; want %v with %d or more", what, asked, len(tickers), len(distinct), whole, databases)
		}
		if state.Provisional || !state.Cleared || state.Unproven != "" {
			t.Errorf("%s: %+v; want it settled, cleared and proven", what, state)
		}
		k.shows(series(1, 2, 9, 9)) // restated
	}
}

func TestNothingIsBelievedWhileOneDatabaseWasNotPushedOut(t *testing.T) {
	k, d := keep(t, false)
	before := look(t, d, 1)
	for name, odd := range map[string]struct {
		status int
		body   string
	}{"success": {200, `{"success":true}`}, "too large": {413, `{"error":"x"}`}, "another error": {500, `{"error":"database is locked"}`}, "HTML": {500, "<html>"}} {
		k.answers(func(n int, _ bool) (int, string) {
			if n%20 == 0 {
				return odd.status, odd.body
			}
			return http.StatusInternalServerError, withoutPrices
		})
		k.shows(series(1, 2, 3, 4))
		err := d.Poll(context.Background())
		for range 3 {
			if err == nil {
				err = d.Poll(context.Background())
			}
		}
		if state, _ := d.Current(); err == nil || !state.Provisional {
			t.Errorf("%s: %v, %+v; want an error and to stay provisional", name, err, state)
		}
	}
	k.answers(nil)
	if state := look(t, d, 2); state.Provisional || state.Unproven != "" || state.Generation() == before.Generation() {
		t.Errorf("once all are pushed out: %+v", state)
	}
}

func TestWhatWasProvenByDatesIsWhatWasOnlyAddedTo(t *testing.T) {
	for name, c := range map[string]struct {
		next   string
		proven bool
	}{
		"a day was added": {series(1, 2, 3, 4), true}, "history was restated": {series(1, 9, 3, 4), false},
		"under the same date": {series(1, 9, 3), false}, "its last day changed": {series(1, 2, 9), false}, "a day is gone": {series(1, 2), false},
	} {
		k, d := keep(t, false)
		if state := look(t, d, 1); state.Unproven != "" {
			t.Fatalf("at the start: %+v", state)
		}
		k.shows(c.next)
		if state := look(t, d, 3); state.Provisional || (state.Unproven == "") != c.proven {
			t.Errorf("%s: %+v; want proven %v", name, state, c.proven)
		}
		if asked, _ := k.forgot(); !slices.Equal(asked, []string{"flush"}) {
			t.Errorf("%s: asked %v; without a login its databases can be flushed", name, asked)
		}
		d.ServerCleared(context.Background(), "", true)
		if state := look(t, d, 2); state.Provisional || state.Unproven != "" {
			t.Errorf("%s, and an admin cleared the server: %+v", name, state)
		}
		if asked, _ := k.forgot(); !slices.Equal(asked, []string{"flush"}) {
			t.Errorf("%s, and an admin cleared the server: asked %v; its databases are from before", name, asked)
		}
	}
}

func TestProtectedServerIsFlushedWithOwnCredentialsOrNotBelieved(t *testing.T) {
	for _, login := range []bool{true, false} {
		k, d := keep(t, login)
		k.backtest = func(_ int, authorized bool) (int, string) {
			if !authorized {
				return http.StatusUnauthorized, `{"error":"Unauthorized"}`
			}
			return http.StatusInternalServerError, withoutPrices
		}
		look(t, d, 1)
		k.shows(series(1, 2, 3, 4))
		state := look(t, d, 3)
		if state.Provisional || (state.Unproven == "") != login {
			t.Errorf("with a login %v: %+v", login, state)
		}
		again := look(t, d, 2)
		if again.Generation() != state.Generation() {
			t.Errorf("with a login %v: generation %s, then %s, though nothing happened", login, state.Generation(), again.Generation())
		}
	}
}

func TestLoginThatIsNoAdminsClearsNothingAndIsNamed(t *testing.T) {
	k, d := keep(t, true)
	k.invalidate = http.StatusForbidden
	state := look(t, d, 1)
	if state.Provisional || state.Cleared || state.Begun {
		t.Errorf("%+v; want what is found at the start, not cleared", state)
	}
	if got := d.admin.State(); got != AdminNot {
		t.Errorf("the admin is %q, want %q", got, AdminNot)
	}
}

// A computation that began before the bars were cleared may put a database of old ones back after they were flushed.
func TestServerIsClearedAgainWhenSomethingOutlivedIt(t *testing.T) {
	k, d := keep(t, true)
	before := look(t, d, 1)
	k.shows(series(1, 2, 9))
	during := look(t, d, 1) // the sync is seen, and over, and the server cleared
	k.forgot()
	d.Outlived(context.Background(), before)
	if state, _ := d.Current(); !state.Provisional || state.Generation() == during.Generation() {
		t.Errorf("%+v is believed though the server may hold an old database", state)
	}
	after := look(t, d, 1)
	if asked, _ := k.forgot(); !slices.Equal(asked, []string{"invalidate", "flush", "invalidate"}) || after.Provisional {
		t.Errorf("asked %v, then %+v; want the server cleared again", asked, after)
	}
	for _, harmless := range []*DataState{after, {record: record{Number: after.record.Number + 1}}} {
		d.Outlived(context.Background(), harmless)
		if state, _ := d.Current(); state.Generation() != after.Generation() {
			t.Errorf("cleared again for what began after the clearing: %+v", state)
		}
	}
}
