package upstream

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestServerThatIsTooBusyToTellItsUptimeIsAskedForItAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		again  bool
	}{
		{"too many requests", http.StatusTooManyRequests, `{"error":"slow down"}`, true},
		{"a gateway's word", http.StatusServiceUnavailable, `busy`, true},
		{"no such route", http.StatusNotFound, `{"error":"not found"}`, false},
		{"the front end's page", http.StatusOK, `<!doctype html>`, false},
		{"a status without it", http.StatusOK, `{"ok":true}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := true
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status, body := http.StatusOK, `{"uptime":90}`
				if first {
					status, body = c.status, c.body
				}
				first = false
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			}))
			defer server.Close()
			base, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			d := watch(NewClient(base, http.DefaultTransport, time.Second), zap.NewNop(), "SPY")
			for range 2 {
				if _, err := d.askUptime(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			up, err := d.askUptime(t.Context())
			if again := up > 0; err != nil || again != c.again {
				t.Errorf("after status %d %q it was up for %v, error %v; asked again %v, want %v", c.status, c.body, up, err, again, c.again)
			}
		})
	}
}
