package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"warmfront/proxy/upstream"
)

func TestOnlyARequestThatABrowserMakesWithoutWarningWaitsForItsOrigin(t *testing.T) {
	p := startProxy(t, &fakeServer{}, nil)
	for name, c := range map[string]struct {
		method string
		header http.Header
		awaits bool
	}{
		"no Origin":                      {"GET", nil, false},
		"the host itself":                {"GET", http.Header{"Origin": {"http://Example.com"}}, false},
		"the host before an edge":        {"GET", http.Header{"Origin": {"https://app.example"}, "X-Forwarded-Host": {"app.example:443"}}, false},
		"another port":                   {"GET", http.Header{"Origin": {"http://example.com:81"}}, true},
		"a GET of another origin":        {"GET", http.Header{"Origin": {"https://other.example"}}, true},
		"an opaque origin":               {"GET", http.Header{"Origin": {"null"}}, true},
		"JSON":                           {"POST", http.Header{"Origin": {"https://other.example"}, "Content-Type": {"application/json"}}, false},
		"a POST with nothing in it":      {"POST", http.Header{"Origin": {"https://other.example"}}, true},
		"a GET with an access token":     {"GET", http.Header{"Origin": {"https://other.example"}, "Authorization": {"Bearer x"}}, false},
		"a POST that needs no preflight": {"POST", http.Header{"Origin": {"https://other.example"}, "Content-Type": {"text/plain"}}, true},
	} {
		r := httptest.NewRequest(c.method, "http://example.com/api/candles/SPY", nil)
		r.Header = c.header
		a := &ask{in: r, sent: c.header}
		a.showsOrigin()
		if got := p.awaitsOrigin(a); got != c.awaits {
			t.Errorf("%s: %s %v waits %v, want %v", name, c.method, c.header, got, c.awaits)
		}
	}
}

func TestOriginIsLearnedFromWhatPassesIfItWasShown(t *testing.T) {
	allowed := http.Header{"Access-Control-Allow-Origin": {"https://a"}, "Vary": {"Origin"}}
	for name, c := range map[string]struct {
		method, path string
		status       int
		shown        http.Header
		answer       http.Header
		learned      bool
	}{
		"passed":                      {"GET", "/api/bots", 200, http.Header{"Origin": {"https://a"}}, allowed, true},
		"a preflight":                 {"OPTIONS", "/api/backtest", 204, http.Header{"Origin": {"https://a"}, "Access-Control-Request-Method": {"POST"}}, allowed, true},
		"OPTIONS that is none":        {"OPTIONS", "/api/backtest", 204, http.Header{"Origin": {"https://a"}}, allowed, false},
		"a failure":                   {"GET", "/api/bots", 502, http.Header{"Origin": {"https://a"}}, allowed, false},
		"two Origins":                 {"GET", "/api/bots", 200, http.Header{"Origin": {"https://a", "https://b"}}, allowed, false},
		"not shown":                   {"GET", "/api/bots", 200, nil, allowed, false},
		"the front end":               {"GET", "/index.html", 200, http.Header{"Origin": {"https://a"}}, allowed, false},
		"a route that varies by more": {"GET", "/api/bots", 200, http.Header{"Origin": {"https://a"}}, http.Header{"Vary": {"Origin, Cookie"}}, false},
	} {
		origins := upstream.NewOrigins(nil, nil)
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header = c.shown
		learnsOrigin(origins, &http.Response{StatusCode: c.status, Header: c.answer, Request: r})
		if got := origins.Remembered("https://a") != nil; got != c.learned {
			t.Errorf("%s: learned %v, want %v", name, got, c.learned)
		}
		origins.Close()
	}
}
