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
	"time"

	"go.uber.org/zap"
)

// observe asks the server for all that a record is made of, in an order that matters: a sync that is
// said to have succeeded had rewritten its files before the candles are read, and tables that were
// reloaded meanwhile show at the next look. The error is ErrDown
// when the server can't be reached, ErrStatus when the first question about the data has no answer yet.
func (d *DataWatch) observe(ctx context.Context, known record) (o observation, err error) {
	if o.sync, err = d.askSync(ctx); err != nil {
		return o, err
	}
	o.jobs = map[string]string{}
	for _, id := range known.Jobs {
		status, err := d.askJob(ctx, id)
		if err != nil {
			return o, err
		}
		o.jobs[id] = status
	}
	text, tables, err := d.askText(ctx)
	switch {
	case err == nil:
		o.text, o.tables = &text, &tables
	case errors.Is(err, ErrDown) || ctx.Err() != nil:
		return o, err
	case known.Number == 0:
		return o, err
	}
	o.tickers = map[string]candle{}
	for _, ticker := range d.watched(known) {
		c, err := d.askCandle(ctx, ticker)
		switch {
		case errors.Is(err, ErrDown) || ctx.Err() != nil:
			return o, err
		case err == nil:
			o.tickers[ticker] = c
		case d.isCanary(ticker):
			d.grumble(ticker, "canary ticker gives no candles; check DATA_DATE_TICKERS", err)
		}
	}
	return o, nil
}

// askCandle gives a ticker's newest candle, which the server always reads from disk.
func (d *DataWatch) askCandle(ctx context.Context, ticker string) (candle, error) {
	path := "/api/candles/" + url.PathEscape(ticker) + "?limit=50"
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return candle{}, err
	}
	var a struct {
		Candles []struct {
			Time int64 `json:"time"`
		} `json:"candles"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(body, &a) != nil || len(a.Candles) == 0 {
		return candle{}, fmt.Errorf("%w: status %d without candles for %s", ErrStatus, res.StatusCode, path)
	}
	date := time.Unix(a.Candles[len(a.Candles)-1].Time, 0).UTC().Format(time.DateOnly)
	return candle{Date: date, Hash: hashOf(body)}, nil
}

// askText gives the server's own data date, an opaque text that may be empty, and a hash of the first
// canary's benchmark metrics: its tables are loaded once in the life of the server's process, so that a
// restart after a sync shows here (trap 5).
func (d *DataWatch) askText(ctx context.Context) (text, tables string, err error) {
	path := "/api/benchmarks/metrics?tickers=" + url.QueryEscape(d.canaries[0])
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return "", "", err
	}
	var a struct {
		DataDate   *string         `json:"dataDate"`
		Benchmarks json.RawMessage `json:"benchmarks"`
	}
	if res.StatusCode != http.StatusOK || json.Unmarshal(body, &a) != nil || a.DataDate == nil {
		return "", "", fmt.Errorf("%w: status %d without dataDate for %s", ErrStatus, res.StatusCode, path)
	}
	return *a.DataDate, hashOf(a.Benchmarks), nil
}

// askSync gives what the schedule says, nil without admin credentials or when they don't open it.
func (d *DataWatch) askSync(ctx context.Context) (*syncStatus, error) {
	if !d.admin.Configured() {
		return nil, nil
	}
	status, body, err := d.admin.Ask(ctx, http.MethodGet, "/api/admin/sync-schedule", nil)
	if errors.Is(err, ErrDown) || ctx.Err() != nil {
		return nil, err
	}
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%w: status %d for the sync schedule", ErrStatus, status)
	}
	var s *syncStatus
	if err == nil {
		s, err = syncOf(body)
	}
	if err != nil {
		d.grumble("sync", "the sync's status can't be asked for with the admin credentials", err)
		return nil, nil
	}
	return s, nil
}

// askJob gives the status of a download job; "" when the server does not know it (any more).
func (d *DataWatch) askJob(ctx context.Context, id string) (string, error) {
	res, body, err := d.client.get(ctx, "/api/download/"+url.PathEscape(id), nil)
	if err != nil {
		return "", err
	}
	var job struct {
		Status string `json:"status"`
	}
	switch {
	case res.StatusCode == http.StatusNotFound:
		return "", nil
	case res.StatusCode != http.StatusOK || json.Unmarshal(body, &job) != nil || job.Status == "":
		return "unknown", nil
	}
	return job.Status, nil
}

// syncOf reads the schedule's answer in both of its shapes: lastSync is one entry, or one for each
// source (details, section 5).
func syncOf(body []byte) (*syncStatus, error) {
	var a struct {
		Status struct {
			IsRunning *bool `json:"isRunning"`
		} `json:"status"`
		LastSync json.RawMessage `json:"lastSync"`
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Status.IsRunning == nil {
		return nil, fmt.Errorf("%w: a sync schedule without status.isRunning", ErrStatus)
	}
	type entry struct {
		Timestamp string `json:"timestamp"`
		Status    string `json:"status"`
	}
	s := &syncStatus{running: *a.Status.IsRunning}
	var one entry
	var each map[string]*entry
	switch {
	case json.Unmarshal(a.LastSync, &one) == nil && one.Timestamp != "":
		each = map[string]*entry{"": &one}
	case json.Unmarshal(a.LastSync, &each) != nil:
		return s, nil
	}
	for _, e := range each {
		if e != nil && e.Timestamp > s.newest { // ISO 8601 in UTC: the order of texts is that of times
			s.newest, s.succeeded = e.Timestamp, e.Status == "success"
		}
	}
	return s, nil
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// grumble logs a complaint once until the next success.
func (d *DataWatch) grumble(about, message string, err error) {
	if d.grumbled[about] {
		return
	}
	d.grumbled[about] = true
	d.log.Warn(message, zap.String("about", about), zap.Error(err))
}
