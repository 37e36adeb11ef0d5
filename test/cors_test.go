package test

import (
	"slices"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// crossOrigin are the fields that belong to the asking origin.
func crossOrigin(a *harness.Answer) (fields []string) {
	for name, values := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			fields = append(fields, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(fields)
	return fields
}

func variesBy(a *harness.Answer, field string) bool {
	for _, line := range a.Header.Values("Vary") {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), field) {
				return true
			}
		}
	}
	return false
}

func TestHitCarriesTheCORSHeadersOfTheAskingOrigin(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	path := "/api/candles/SPY?limit=90"
	expect(t, get(t, w.URL+path, "Origin: http://app.example"), 200, "X-Cache: MISS", "Access-Control-Allow-Origin: http://app.example")
	for _, origin := range []string{"http://other.example", "http://app.example", "http://localhost:5173", "http://evil.example", ""} {
		var header []string
		if origin != "" {
			header = append(header, "Origin: "+origin)
		}
		direct := get(t, up.URL+path, header...)
		for range 2 { // asked of the server, and remembered
			a := get(t, w.URL+path, header...)
			expect(t, a, direct.Status)
			if got, want := crossOrigin(a), crossOrigin(direct); !slices.Equal(got, want) {
				t.Fatalf("origin %q got %q, expected the server's own %q\n%s", origin, got, want, a)
			}
			if direct.Status == 200 {
				expect(t, a, 200, "X-Cache: HIT")
				if !variesBy(a, "Origin") || !variesBy(a, "Accept-Encoding") {
					t.Fatalf("Vary is %q, expected Origin and Accept-Encoding in it\n%s", a.Header.Values("Vary"), a)
				}
			}
		}
	}
}

func TestCORSHeadersAreRightOnAHitInAnotherProcess(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	path := "/api/candles/SPY?limit=91"
	expect(t, get(t, one.URL+path, "Origin: http://app.example"), 200, "X-Cache: MISS")
	expect(t, get(t, two.URL+path, "Origin: http://other.example"), 200, "X-Cache: HIT", "X-Cache-Tier: redis",
		"Access-Control-Allow-Origin: http://other.example", "Access-Control-Allow-Credentials: true")
}

func TestPreflightsAreTheServersToAnswer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	header := []string{"Origin: http://app.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"}
	direct := send(t, "OPTIONS", up.URL+"/api/backtest", nil, header...)
	a := send(t, "OPTIONS", w.URL+"/api/backtest", nil, header...)
	expect(t, a, direct.Status, "Access-Control-Allow-Origin: http://app.example", "X-Cache:")
	if got, want := crossOrigin(a), crossOrigin(direct); !slices.Equal(got, want) {
		t.Fatalf("got %q, expected %q\n%s", got, want, a)
	}
}
