package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"warmfront/keying"
	"warmfront/keying/rule"
)

const (
	// databases is how many price databases the server keeps, first in first out (trap 16).
	databases = 50
	// flushWidth is how many of the requests that flush them are under way at a time.
	flushWidth = 4
	// clearPatience bounds one try at clearing the server; a busy one answers late. It is well below claimFor.
	clearPatience = 45 * time.Second
)

// clearServer makes the server forget what it made of the data before, as far as it lets itself be told:
//
//	bars -> price databases -> rows          benchmark tables (a restart only)
//
// Each is made of the ones to its left, so they are cleared from left to right. When the bars are gone
// (BarsFrom), whatever is computed reads files. When 50 databases that nobody needs have pushed the others out
// (SafeFrom), whatever is computed builds its database of these. The rows come twice: the first time because the
// same request clears the bars, the last because of those that were computed meanwhile with an old database.
//
// That holds for what begins after each of those moments. A computation that began before and ends after puts its
// old database, or row, back: each replica tells of those that it sent (Outlived), and the server is cleared again.
// So every answer that is kept for long began after a clearing that nothing older outlived. The phase, under the
// board's one record, keeps what is computed until then from being believed beyond PROVISIONAL_TTL, and the warm
// loop from starting. What is computed for somebody who reaches the server around Warmfront is seen by nobody.
func (d *DataWatch) clearServer(ctx context.Context, known record) error {
	ctx, cancel := context.WithTimeout(ctx, clearPatience)
	defer cancel()
	got, err := d.clear(ctx, known)
	if err != nil {
		return err
	}
	// A range has it load its tables without making rows of them.
	if _, err := d.askDays(ctx, nil, known.Date); err != nil {
		d.log.Warn("the server's benchmark tables could not be loaded", zap.Error(err))
	}
	again := false
	d.apply(ctx, "what the server keeps was cleared", func(r *record) {
		if again = false; r.Phase != clearing || r.Claim != d.board.ID() {
			return // a sync that began meanwhile comes first
		}
		if again = r.Again && got.flushed; again {
			r.Again = false
			return
		}
		r.RowsDue = r.RowsDue && !got.cleared
		r.end(time.Now(), d.canaries, got)
	})
	if again {
		d.Poke()
		return nil
	}
	d.log.Info("what the server keeps was cleared", zap.Bool("rowsAndBars", got.cleared), zap.Bool("priceDatabases", got.flushed))
	return nil
}

// clear does it, in the order that clearServer says. Where nothing more can be cleared than was before, what is
// computed stays of the generation that it is of.
func (d *DataWatch) clear(ctx context.Context, known record) (got outcome, err error) {
	if got.cleared, err = d.invalidate(ctx); err != nil {
		return got, err
	}
	open, err := d.isOpen(ctx)
	if err != nil {
		return got, err
	}
	if !got.cleared && (!open || known.Flushed) {
		return outcome{flushed: known.Flushed, same: true}, nil
	}
	d.stage(ctx, func(r *record) { r.BarsFrom = r.Number })
	if open {
		if err := d.flush(ctx); err != nil {
			return got, err
		}
		got.flushed = true
	}
	d.stage(ctx, func(r *record) { r.SafeFrom = r.Number })
	if got.cleared && got.flushed {
		got.cleared, err = d.invalidate(ctx)
	}
	return got, err
}

// stage notes that a part of the clearing is done: what is computed from here on is of another generation than
// what began before.
func (d *DataWatch) stage(ctx context.Context, note func(*record)) {
	d.apply(ctx, "a part of what the server keeps was cleared", func(r *record) {
		if r.Phase == clearing && r.Claim == d.board.ID() {
			if !rule.Off(rule.SettledMoves) {
				r.Number++
			}
			note(r)
		}
	})
}

// invalidate clears the server's rows and bars; done is false when the credentials don't open that, or there are
// none.
func (d *DataWatch) invalidate(ctx context.Context) (done bool, err error) {
	if !d.admin.Configured() {
		return false, nil
	}
	status, _, err := d.admin.Ask(ctx, http.MethodPost, "/api/admin/cache/invalidate", []byte("{}"))
	switch {
	case err == nil && status >= http.StatusInternalServerError:
		err = fmt.Errorf("%w: status %d for clearing the cache", ErrStatus, status)
	case errors.Is(err, ErrLogin):
		status, err = http.StatusUnauthorized, nil
	}
	if err != nil {
		d.grumble("clear", "the server's rows could not be cleared; trying again", err)
		return false, err
	}
	if status != http.StatusOK {
		d.log.Warn("the server's rows and bars can't be cleared with the admin credentials", zap.Int("status", status))
	}
	return status == http.StatusOK, nil
}

// isOpen reports whether the server gives us a backtest.
func (d *DataWatch) isOpen(ctx context.Context) (bool, error) {
	err := d.pushOut(ctx, "ZZ"+rand.Text()[:6])
	if errors.Is(err, errNotOpen) {
		d.log.Warn("the server's price databases can't be flushed: it wants other credentials for a backtest; what depends on them stays provisional. Set UPSTREAM_EMAIL and UPSTREAM_PASSWORD")
		return false, nil
	}
	return err == nil, d.notFlushed(err)
}

// flush pushes every price database out of the server's memory: 50 backtests of tickers that don't exist leave 50
// that nobody asks for again. The names are new each time, since one that is still there would push nothing out.
func (d *DataWatch) flush(ctx context.Context) error {
	name := "ZZ" + rand.Text()[:6]
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(flushWidth)
	for i := range databases {
		work.Go(func() error { return d.pushOut(ctx, name+strconv.Itoa(i)) })
	}
	return d.notFlushed(work.Wait())
}

func (d *DataWatch) notFlushed(err error) error {
	if err != nil {
		d.grumble("flush", "the server's price databases could not be flushed; trying again, answers stay provisional", err)
	}
	return err
}

// errNotOpen means that the server gives a backtest only to somebody with other credentials than ours.
var errNotOpen = errors.New("the server wants other credentials for a backtest")

// pushOut has the server build a price database of one ticker that doesn't exist. That it did shows in its error:
// it found no prices. An answer of any other kind comes from somewhere before that.
func (d *DataWatch) pushOut(ctx context.Context, ticker string) error {
	if rule.Off(rule.PricesFlushed) {
		return nil
	}
	body := []byte(`{"payload":"{\"id\":\"p\",\"kind\":\"position\",\"positions\":[\"` + ticker + `\"]}","benchmarkTicker":"` + ticker + `"}`)
	status, answer, err := d.client.Ask(ctx, http.MethodPost, "/api/backtest", body)
	if err == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
		if !d.admin.Configured() {
			return errNotOpen
		}
		status, answer, err = d.admin.Ask(ctx, http.MethodPost, "/api/backtest", body)
	}
	if errors.Is(err, ErrLogin) || err == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
		return errNotOpen
	}
	if err != nil {
		return err
	}
	var said struct {
		Error string `json:"error"`
	}
	if status != http.StatusInternalServerError || keying.ReadJSON(answer, &said) != nil || !isWithoutPrices(said.Error) {
		return fmt.Errorf("%w: status %d for a backtest of a ticker that does not exist", ErrStatus, status)
	}
	return nil
}

// isWithoutPrices reports whether an error says that a backtest found too few prices.
func isWithoutPrices(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "overlapping price data") || strings.Contains(text, "not enough") || strings.Contains(text, "insufficient")
}

// Outlived tells of a computation that began when begun was the state, and has ended now.
func (d *DataWatch) Outlived(ctx context.Context, begun *DataState) {
	if now, _ := d.Current(); now == nil || !now.record.outlivedBy(begun.record.Number) || rule.Off(rule.OutlivedFlushed) {
		return
	}
	d.apply(ctx, "a computation outlived the clearing of the server", func(r *record) {
		if !r.outlivedBy(begun.record.Number) {
			return
		}
		if r.Again = true; r.Phase == settled {
			r.Again = false
			if begun.record.Number < r.BarsFrom {
				r.SafeFrom = 0 // what began since may have met the old database
			}
			r.Flushed = false
			r.bump(time.Now())
			r.claim(d.board.ID(), time.Now())
		}
	})
	d.Poke()
}

// outlivedBy reports whether a computation of that generation that ends now may put back what was cleared.
func (r record) outlivedBy(number int) bool {
	switch {
	case r.Phase == syncing || r.BarsFrom == 0:
		return false // it is to be cleared yet
	case number < r.BarsFrom:
		return true
	}
	return r.Phase == settled && number < r.SafeFrom && r.Cleared
}
