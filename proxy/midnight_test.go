package proxy

import (
	"net/http/httptest"
	"testing"
	"time"

	"warmfront/keying"
)

// The server's day may begin a little later than ours: what it answers meanwhile is of yesterday.
func TestWhatDependsOnTheDayIsNotKeptRightAfterMidnight(t *testing.T) {
	p := startProxy(t, &fakeServer{}, nil)
	const path = "/api/correlation/optimize"
	route, param, _ := keying.Match("POST", path)
	asked := func(period string, started time.Time) string {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("Content-Type", "application/json")
		a := &ask{route: route, in: r, sent: r.Header, body: []byte(`{"botIds":["a","b"],"period":"` + period + `"}`), started: started}
		if reason := p.understand(a, param); reason != "" {
			t.Fatal(reason)
		}
		if reason := p.locate(t.Context(), a); reason != "" {
			t.Fatal(reason)
		}
		return p.changed(t.Context(), a)
	}
	now := time.Now()
	midnight := now.UTC().Truncate(24 * time.Hour)
	for _, c := range []struct {
		period  string
		started time.Time
		reason  string
	}{
		{"1y", midnight.Add(time.Second), "day-changed"},
		{"1y", midnight.Add(-time.Millisecond), "day-changed"},
		{"1y", midnight.Add(skewMargin), ""},
		{"full", midnight.Add(time.Second), ""},
	} {
		if got := asked(c.period, c.started); got != c.reason {
			t.Errorf("period %s, asked for at %v: %q, want %q", c.period, c.started, got, c.reason)
		}
	}
}
