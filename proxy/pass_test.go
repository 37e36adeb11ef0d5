package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"warmfront/config"
)

// UPSTREAM_TIMEOUT is up to the first byte. The answer may begin before the request has gone out whole, whose end
// must not begin the wait then.
func TestPassedAnswerThatHasBegunInTimeIsNotCutOff(t *testing.T) {
	const timeout = 150 * time.Millisecond
	for name, header := range map[string]string{"bypassed": "1", "too large to be keyed": ""} {
		t.Run(name, func(t *testing.T) {
			s := &fakeServer{}
			p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout, c.MaxRequest = timeout, 4 })
			cut := make(chan bool, 1)
			s.backtest = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "{")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					cut <- true
				case <-time.After(4 * timeout):
					cut <- false
					_, _ = io.WriteString(w, "}")
				}
			}
			r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", strings.NewReader(`{"mode":"CC"}`))
			r.Header.Set("Content-Type", "application/json")
			if header != "" {
				r.Header.Set("X-Cache-Bypass", header)
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if body := w.Body.String(); <-cut || body != "{}" {
				t.Errorf("after %v the answer that had begun was %q (%d %v), want {}", timeout, body, w.Code, w.Header())
			}
		})
	}
}

// A client that is slow with its request has all the time it needs.
func TestSlowRequestIsNotTakenForASlowServer(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, func(c *config.Config) { c.UpstreamTimeout = 150 * time.Millisecond })
	body, client := io.Pipe()
	go func() {
		_, _ = io.WriteString(client, `{"mode":`)
		<-time.After(450 * time.Millisecond)
		_, _ = io.WriteString(client, `"CC"}`)
		client.Close()
	}()
	r := httptest.NewRequest("POST", "/api/bots/bot-1/run-backtest", body)
	r.Header.Set("X-Cache-Bypass", "1")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusOK || len(s.bodies) != 1 || s.bodies[0] != `{"mode":"CC"}` {
		t.Errorf("a request that took 450 ms to come was answered %d %q; the server got %q", w.Code, w.Body, s.bodies)
	}
}
