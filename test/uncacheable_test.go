package test

import (
	"strings"
	"testing"

	"warmfront/test/harness"
)

var asJSON = map[string]string{"Content-Type": "application/json; charset=utf-8"}

// and is a header with one more field.
func and(h map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for n, v := range h {
		if _, given := all[n]; !given {
			all[n] = v
		}
	}
	return all
}

func TestWhatIsNoSuccessIsPassedAsItIsAndNotKept(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"MAX_ENTRY": "64KiB"})
	for name, o := range map[string]harness.Override{
		"404":                       {Status: 404, Headers: asJSON, Body: `{"error":"Bot not found"}`},
		"400":                       {Status: 400, Headers: asJSON, Body: `{"error":"Bot has no payload"}`},
		"400 in HTML":               {Status: 400, Headers: map[string]string{"Content-Type": "text/html; charset=utf-8"}, Body: `<pre>ApiError</pre>`},
		"500":                       {Status: 500, Headers: asJSON, Body: `{"error":"boom"}`},
		"201":                       {Status: 201, Headers: asJSON, Body: canned("created")},
		"redirect":                  {Status: 302, Headers: and(asJSON, "Location", "/elsewhere"), Body: `{}`},
		"Set-Cookie":                {Status: 200, Headers: and(asJSON, "Set-Cookie", "session=1; HttpOnly"), Body: canned("cookie")},
		"no-store":                  {Status: 200, Headers: and(asJSON, "Cache-Control", "no-store"), Body: canned("no-store")},
		"no-cache":                  {Status: 200, Headers: and(asJSON, "Cache-Control", "public, no-cache"), Body: canned("no-cache")},
		"max-age=0":                 {Status: 200, Headers: and(asJSON, "Cache-Control", "max-age=0, must-revalidate"), Body: canned("max-age")},
		"s-maxage=0":                {Status: 200, Headers: and(asJSON, "Cache-Control", "max-age=60, s-maxage=0"), Body: canned("s-maxage")},
		"Pragma":                    {Status: 200, Headers: and(asJSON, "Pragma", "no-cache"), Body: canned("pragma")},
		"expired":                   {Status: 200, Headers: and(asJSON, "Expires", "Thu, 01 Jan 1970 00:00:00 GMT"), Body: canned("expired")},
		"Vary":                      {Status: 200, Headers: and(asJSON, "Vary", "Origin, Authorization"), Body: canned("vary")},
		"Vary: *":                   {Status: 200, Headers: and(asJSON, "Vary", "*"), Body: canned("vary")},
		"private":                   {Status: 200, Headers: and(asJSON, "Cache-Control", "max-age=60, Private"), Body: canned("private")},
		"index.html":                {Status: 200, Headers: map[string]string{"Content-Type": "text/html"}, Body: `<!doctype html><title>App</title>`},
		"no content type":           {Status: 200, Headers: map[string]string{"Content-Type": "text/plain"}, Body: canned("text")},
		"JSON that is none":         {Status: 200, Headers: asJSON, Body: `{"success":true,`},
		"without success":           {Status: 200, Headers: asJSON, Body: strings.Replace(canned("x"), "true", "false", 1)},
		"without an equity curve":   {Status: 200, Headers: asJSON, Body: `{"success":true,"metrics":{}}`},
		"with errors":               {Status: 200, Headers: asJSON, Body: strings.Replace(canned("x"), `"success":true`, `"success":true,"errors":["SPY: not found"]`, 1)},
		"data after the JSON":       {Status: 200, Headers: asJSON, Body: canned("x") + `{}`},
		"larger than MAX_ENTRY":     {Status: 200, Headers: asJSON, Body: canned(strings.Repeat("large", 20<<10))},
		"an unknown content coding": {Status: 200, Headers: and(asJSON, "Content-Encoding", "x-unknown"), Body: canned("coded")},
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, up.Reset())
			o.Method, o.Path, o.Times = "POST", runPath, 2
			override(t, up, o)
			for range 2 {
				a := post(t, w.URL+runPath, `{}`)
				expect(t, a, o.Status, "X-Cache: PASS", "X-Cache-Tier: upstream", "Age:", "Cache-Status: *")
				for field, value := range o.Headers {
					if got := a.Header.Get(field); got != value {
						t.Errorf("%s is %q, expected the server's %q\n%s", field, got, value, a)
					}
				}
				if string(a.Wire) != o.Body {
					t.Fatalf("the body is not the server's\n%s", a)
				}
			}
			reached(t, up, runRoute, 2)
			expect(t, post(t, w.URL+runPath, `{"mode":"OC"}`), 200) // and nothing is stuck
		})
	}
}

func TestErrorsOfTheServerItselfArePassed(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown bot":       {"POST", "/api/bots/nobody/run-backtest", `{}`, 404},
		"no payload":        {"POST", "/api/backtest", `{}`, 400},
		"unknown ticker":    {"GET", "/api/candles/NOSUCH?limit=60", "", 404},
		"one bot only":      {"POST", "/api/correlation/optimize", `{"botIds":["bot-7"]}`, 400},
		"unknown benchmark": {"GET", "/api/benchmarks/metrics?tickers=SPY,NOSUCH", "", 200}, // with errors
		"unknown in batch":  {"POST", "/api/candles/batch", `{"tickers":["SPY","NOSUCH"],"limit":60}`, 200},
		"unknown GET":       {"GET", "/api/unknown/route", "", 200}, // index.html
	} {
		t.Run(name, func(t *testing.T) {
			var sent []byte
			if c.method == "POST" {
				sent = []byte(c.body)
			}
			direct := send(t, c.method, up.URL+c.path, sent)
			expect(t, direct, c.status)
			for range 2 {
				a := send(t, c.method, w.URL+c.path, sent)
				if x := a.Header.Get("X-Cache"); x == "HIT" || x == "MISS" {
					t.Fatalf("X-Cache is %q, expected it not to be kept\n%s", x, a)
				}
				expect(t, a, c.status, "Content-Type: "+direct.Header.Get("Content-Type"))
				sameBody(t, a, direct)
			}
		})
	}
}
