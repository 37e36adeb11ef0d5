package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// Upstream is a stand-in server and the levers that it has for tests.
type Upstream struct {
	Server
	DataDir string
}

// Counts is how many requests reached the server, by "METHOD /route/pattern".
type Counts struct {
	Total     int            `json:"total"`
	Routes    map[string]int `json:"routes"`
	Backtests int            `json:"backtests"` // backtests that were computed, not answered from its cache
}

// Counts asks how many requests reached the server.
func (u *Upstream) Counts() (c Counts, err error) {
	_, err = readJSON(u.URL+"/__test/counts", &c)
	return c, err
}

// A Received is a request as it reached the server.
type Received struct {
	Method     string   `json:"method"`
	URL        string   `json:"url"`
	RawHeaders []string `json:"rawHeaders"` // name, value, name, value, ...
	BodySHA256 string   `json:"bodySha256"`
	BodyLength int      `json:"bodyLength"`
}

// Values are those of the header field, in order.
func (r Received) Values(name string) (values []string) {
	for i := 0; i+1 < len(r.RawHeaders); i += 2 {
		if strings.EqualFold(r.RawHeaders[i], name) {
			values = append(values, r.RawHeaders[i+1])
		}
	}
	return values
}

// Requests gives the last requests, oldest first, whose target begins with prefix.
func (u *Upstream) Requests(method, prefix string) (found []Received, err error) {
	var all struct {
		Requests []Received `json:"requests"`
	}
	if _, err := readJSON(u.URL+"/__test/requests", &all); err != nil {
		return nil, err
	}
	for _, r := range all.Requests {
		if r.Method == method && strings.HasPrefix(r.URL, prefix) {
			found = append(found, r)
		}
	}
	return found, nil
}

// An Override stands in for the next answers to requests whose path begins with Path.
type Override struct {
	Method  string `json:"method"`
	Path    string `json:"path"`
	Times   int    `json:"times,omitempty"`
	DelayMS int    `json:"delayMs,omitempty"`
	// AnswerDelayMS: the request is dealt with at once, and answered late.
	AnswerDelayMS int               `json:"answerDelayMs,omitempty"`
	Status        int               `json:"status,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
	AddHeaders    map[string]string `json:"addHeaders,omitempty"` // on top of the real answer
	Body          string            `json:"body,omitempty"`
	BreakAfter    int               `json:"breakAfter,omitempty"` // bytes of the body, then the connection is cut
	Hang          bool              `json:"hang,omitempty"`
}

// Override arms o.
func (u *Upstream) Override(o Override) error { return u.lever(http.MethodPost, "answers", o) }

// NoOverrides disarms all.
func (u *Upstream) NoOverrides() error { return u.lever(http.MethodDelete, "answers", struct{}{}) }

// Reset brings the server back to its seed: bots, caches, counts and overrides.
func (u *Upstream) Reset() error { return u.lever(http.MethodPost, "reset", struct{}{}) }

// Busy has each backtest from now on hold the server's one thread for so long.
func (u *Upstream) Busy(backtestMS int) error {
	return u.lever(http.MethodPost, "busy", map[string]any{"backtestMs": backtestMS})
}

// Sync makes the server's own scheduler rewrite the price files; mode is append, restate or holiday.
func (u *Upstream) Sync(mode string, durationMS int) error {
	return u.lever(http.MethodPost, "sync", map[string]any{"mode": mode, "durationMs": durationMS})
}

// IsCut reports whether there was nobody to connect to, or a connection ended before it was made use of.
func IsCut(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

func (u *Upstream) lever(method, name string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.URL+"/__test/"+name, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := controlClient().Do(req)
	for IsCut(err) && ctx.Err() == nil { // it is being restarted
		time.Sleep(10 * time.Millisecond)
		req.Body = io.NopCloser(bytes.NewReader(b))
		res, err = controlClient().Do(req)
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(res.Body)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s of the stand-in: %d %s", method, name, res.StatusCode, said)
	}
	return nil
}
