package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// DataState is what is known of the price data at one moment. It is immutable.
type DataState struct {
	// Date is the newest candle's date of the canaries, YYYY-MM-DD (UTC).
	Date string
	// Generation changes with every change that was seen: of a canary's last 50 candles, or of the
	// text that the server calls its data date. It is opaque.
	Generation string
	// MovedAt is when a change was last seen; zero when none was since the start.
	MovedAt time.Time

	canaries map[string]canary
	text     string
}

// canary is what a ticker that is watched showed last.
type canary struct{ date, hash string }

// DataWatch asks every interval for the canaries' candles, which the server always reads from
// disk, and for its own data date, which is opaque: remembered for a minute, not reliably a date,
// empty on Tuesdays and Thursdays (contract, trap 3).
type DataWatch struct {
	client   *Client
	tickers  []string
	interval time.Duration
	log      *zap.Logger

	state    atomic.Pointer[DataState]
	askedAt  atomic.Int64 // Unix nanoseconds of the last answer in full; 0 when the last try found the server down
	grumbled map[string]bool
}

// NewDataWatch watches tickers. Nothing is asked before Run.
func NewDataWatch(c *Client, tickers []string, interval time.Duration, log *zap.Logger) *DataWatch {
	return &DataWatch{client: c, tickers: tickers, interval: interval, log: log, grumbled: map[string]bool{}}
}

// Current gives the newest state, nil while none is known. sure is false when it must not be relied
// on: the server could not be reached, or has not answered for several intervals.
func (d *DataWatch) Current() (state *DataState, sure bool) {
	state = d.state.Load()
	if state == nil {
		return nil, false
	}
	at := d.askedAt.Load()
	return state, at != 0 && time.Since(time.Unix(0, at)) < d.patience()
}

// patience is for how long a state is believed without a new answer. A server that computes does
// not answer (one thread), so it is generous; one that refuses connections is noticed at once.
func (d *DataWatch) patience() time.Duration { return 4*d.interval + 30*time.Second }

// Run polls until ctx ends. Before the first success it asks every second: a private network's DNS
// may need that long after a start.
func (d *DataWatch) Run(ctx context.Context) {
	for {
		err := d.Poll(ctx)
		wait := d.interval
		if err != nil && d.state.Load() == nil {
			wait = min(wait, time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Poll asks once.
func (d *DataWatch) Poll(ctx context.Context) error {
	old := d.state.Load()
	next := &DataState{canaries: make(map[string]canary, len(d.tickers))}
	for _, ticker := range d.tickers {
		c, err := d.askCanary(ctx, ticker)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, ErrDown) {
				d.askedAt.Store(0)
				d.grumble("down", "upstream can't be reached; nothing is known of its data", err)
				return err
			}
			d.grumble(ticker, "canary ticker gives no candles; check DATA_DATE_TICKERS", err)
			// A file that is being rewritten can't be read (trap 4): what it said before stands.
			if old == nil || old.canaries[ticker] == (canary{}) {
				continue
			}
			c = old.canaries[ticker]
		}
		next.canaries[ticker] = c
		next.Date = max(next.Date, c.date)
	}
	text, err := d.askText(ctx)
	if err != nil {
		if old == nil {
			d.grumble("text", "upstream does not tell its data date", err)
			return err
		}
		text = old.text
	}
	next.text = text
	if next.Date == "" {
		return fmt.Errorf("%w: no canary of %s has a candle", ErrStatus, strings.Join(d.tickers, ","))
	}
	d.publish(old, next)
	return nil
}

func (d *DataWatch) publish(old, next *DataState) {
	d.askedAt.Store(time.Now().UnixNano())
	clear(d.grumbled)
	next.Generation = next.fingerprint(d.tickers)
	switch {
	case old == nil:
		d.log.Info("data date", zap.String("date", next.Date), zap.String("serverText", next.text))
	case old.Generation == next.Generation:
		return
	default:
		next.MovedAt = time.Now()
		d.log.Info("data moved", zap.String("from", old.Date), zap.String("to", next.Date), zap.String("serverText", next.text))
		if next.Date < old.Date {
			d.log.Warn("the data date went backwards", zap.String("from", old.Date), zap.String("to", next.Date))
		}
	}
	d.state.Store(next)
}

// fingerprint is a hash of everything that was seen: the same data gives the same generation on
// every replica and after a restart.
func (s *DataState) fingerprint(tickers []string) string {
	h := sha256.New()
	for _, t := range tickers {
		fmt.Fprintf(h, "%s %s\n", t, s.canaries[t].hash)
	}
	fmt.Fprintf(h, "%q", s.text)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (d *DataWatch) askCanary(ctx context.Context, ticker string) (canary, error) {
	path := "/api/candles/" + url.PathEscape(ticker) + "?limit=50"
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return canary{}, err
	}
	var a struct {
		Candles []struct {
			Time int64 `json:"time"`
		} `json:"candles"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(body, &a) != nil || len(a.Candles) == 0 {
		return canary{}, fmt.Errorf("%w: status %d without candles for %s", ErrStatus, res.StatusCode, path)
	}
	sum := sha256.Sum256(body)
	date := time.Unix(a.Candles[len(a.Candles)-1].Time, 0).UTC().Format(time.DateOnly)
	return canary{date: date, hash: hex.EncodeToString(sum[:])}, nil
}

// askText gives the server's own data date, an opaque text that may be empty.
func (d *DataWatch) askText(ctx context.Context) (string, error) {
	path := "/api/benchmarks/metrics?tickers=" + url.QueryEscape(d.tickers[0])
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return "", err
	}
	var a struct {
		DataDate *string `json:"dataDate"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(body, &a) != nil || a.DataDate == nil {
		return "", fmt.Errorf("%w: status %d without dataDate for %s", ErrStatus, res.StatusCode, path)
	}
	return *a.DataDate, nil
}

// grumble logs a complaint once until the next success.
func (d *DataWatch) grumble(about, message string, err error) {
	if d.grumbled[about] {
		return
	}
	d.grumbled[about] = true
	d.log.Warn(message, zap.String("about", about), zap.Error(err))
}
