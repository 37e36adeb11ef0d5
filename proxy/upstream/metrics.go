package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"warmfront/keying"
)

// ErrRefused means that the server understood what was asked and said no: asking again is no use.
var ErrRefused = fmt.Errorf("%w: it refuses", ErrStatus)

// ErrFailed means that the server met an error of its own. It may pass, or come each time.
var ErrFailed = fmt.Errorf("%w: it failed", ErrStatus)

// SavedMetrics gives the saved metrics that the server shows of a bot; none are nil.
func (c *Client) SavedMetrics(ctx context.Context, bot string, credentials http.Header) (map[string]json.RawMessage, error) {
	res, body, err := c.get(ctx, "/api/bots/"+url.PathEscape(bot), credentials)
	if err != nil {
		return nil, fmt.Errorf("asking for a bot's metrics: %w", err)
	}
	if err := saidYes(res.StatusCode); err != nil {
		return nil, fmt.Errorf("asking for a bot's metrics: %w", err)
	}
	var shown struct {
		Bot struct {
			Metrics map[string]json.RawMessage `json:"metrics"`
		} `json:"bot"`
		Metrics map[string]json.RawMessage `json:"metrics"`
	}
	if err := keying.ReadJSON(body, &shown); err != nil {
		return nil, fmt.Errorf("%w: a bot that can't be read", ErrRefused)
	}
	if shown.Bot.Metrics == nil {
		return shown.Metrics, nil
	}
	return shown.Bot.Metrics, nil
}

// SaveMetrics makes metrics, a JSON object, the saved metrics of a bot, as a run would.
func (c *Client) SaveMetrics(ctx context.Context, bot string, credentials http.Header, metrics []byte) error {
	res, _, err := c.send(ctx, http.MethodPut, "/api/bots/"+url.PathEscape(bot)+"/metrics", credentials, metrics)
	if err == nil {
		err = saidYes(res.StatusCode)
	}
	if err != nil {
		return fmt.Errorf("saving a bot's metrics: %w", err)
	}
	return nil
}

// saidYes is nil for a success, ErrFailed for 500, ErrStatus for what else may pass, ErrRefused for the rest.
func saidYes(status int) error {
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusInternalServerError:
		return fmt.Errorf("%w: status %d", ErrFailed, status)
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return fmt.Errorf("%w: status %d", ErrStatus, status)
	}
	return fmt.Errorf("%w: status %d", ErrRefused, status)
}
