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

	"go.uber.org/zap"

	"warmfront/keying"
)

// observe asks the server for all that a record is made of, in an order that matters: a sync that is
// said to have succeeded had rewritten its files before the candles are read, and the tables are asked for
// a day that the candles have. The error is ErrDown
// when the server can't be reached, ErrStatus when the first question about the data has no answer yet.
func (d *DataWatch) observe(ctx context.Context, known record) (o observation, err error) {
	if o.sync, err = d.askSync(ctx); err != nil {
		return o, err
	}
	o.process = d.refusals.signs()
	if o.process.uptime, err = d.askUptime(ctx); err != nil {
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
	ticker, day := d.canaryOf(o, known)
	text, tables, err := d.askTables(ctx, ticker, day)
	switch {
	case err == nil:
		o.text, o.tables = &text, tables
	case errors.Is(err, ErrDown) || ctx.Err() != nil:
		return o, err
	case known.Number == 0:
		return o, err
	}
	return o, nil
}

// canaryOf gives the first canary that has candles, and the day of its newest.
func (d *DataWatch) canaryOf(o observation, known record) (ticker, day string) {
	for _, t := range d.canaries {
		if c, ok := o.tickers[t]; ok {
			return t, c.Date
		}
		if c, ok := known.Tickers[t]; ok {
			return t, c.Date
		}
	}
	return d.canaries[0], ""
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
	case res.StatusCode != http.StatusOK || keying.ReadJSON(body, &job) != nil || job.Status == "":
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
	if err := keying.ReadJSON(body, &a); err != nil || a.Status.IsRunning == nil {
		return nil, fmt.Errorf("%w: a sync schedule without status.isRunning", ErrStatus)
	}
	type entry struct {
		Timestamp string `json:"timestamp"`
		Status    string `json:"status"`
		Mode      string `json:"mode"`
	}
	s := &syncStatus{running: *a.Status.IsRunning}
	var one entry
	var each map[string]*entry
	switch {
	case keying.ReadJSON(a.LastSync, &one) == nil && one.Timestamp != "":
		each = map[string]*entry{"": &one}
	case len(a.LastSync) == 0 || keying.ReadJSON(a.LastSync, &each) != nil:
		s.unreadable = true
		return s, nil
	}
	for _, e := range each {
		if e != nil && e.Timestamp > s.newest { // ISO 8601 in UTC: the order of texts is that of times
			s.newest, s.succeeded, s.restates = e.Timestamp, e.Status == "success", restates(e.Mode)
		}
	}
	return s, nil
}

// restates reports whether a sync of that mode rewrites history.
func restates(mode string) bool {
	mode = strings.ToLower(mode)
	return strings.Contains(mode, "full") || strings.Contains(mode, "restate")
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
