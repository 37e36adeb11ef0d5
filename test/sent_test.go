package test

import (
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// sentOverASocket is a request as it stands: no HTTP library would send some of these.
func sentOverASocket(path, body string, header ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", path, strings.Join(header, "\r\n"), len(body), body)
}

// The server's body parser does not read these bodies: it answers for the default of 5 basis points.
func TestBodyThatTheServerDoesNotReadNeverPassesForOneThatItReads(t *testing.T) {
	t.Parallel()
	const bot, body = "/api/bots/bot-4/run-backtest", `{"costBps":50}`
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	right := shownMetrics(t, post(t, up.URL+bot, `{"costBps":50,"forceRefresh":true}`))
	wrong := shownMetrics(t, post(t, up.URL+bot, `{"costBps":5,"forceRefresh":true}`))
	if right == wrong {
		t.Fatalf("the costs make no difference to %s, so that this test shows nothing", right)
	}
	for _, header := range []string{
		"Content-Type: application/json;",
		"Content-Type: application/json;\tcharset=utf-8",
		"Content-Type: application/json\r\nConnection: close, Content-Type",
		"Content-Type: text/plain\r\nContent-Type: application/json",
		"Content-Type: application/json; charset=latin1",
		"Content-Type: application/json\r\nContent-Encoding: br",
		"Accept: */*",
	} {
		direct := raw(t, up.URL, sentOverASocket(bot, body, header))
		a := raw(t, one.URL, sentOverASocket(bot, body, header))
		expect(t, a, direct.Status, "X-Cache: PASS")
		if direct.Status == 200 {
			if got := shownMetrics(t, a); got != wrong {
				t.Fatalf("%q: passed, the answer's metrics are %s, expected the server's for the default, %s\n%s", header, got, wrong, a)
			}
		}
		for _, w := range []*harness.Server{two, one} {
			if a := post(t, w.URL+bot, body); shownMetrics(t, a) != right {
				t.Fatalf("after %q: the metrics for 50 basis points are %s, expected %s\n%s", header, shownMetrics(t, a), right, a)
			}
		}
		ok(t, up.Reset())
		expect(t, send(t, "PUT", one.URL+"/api/bots/bot-4", []byte(`{"ownerId":"nobody"}`)), 403) // asks for the revision again
	}
}

func shownMetrics(t *testing.T, a *harness.Answer) string {
	t.Helper()
	return fmt.Sprint(parsed[struct{ Metrics map[string]any }](t, a).Metrics)
}

// Words for application/json that the server reads share an entry, and go out as one.
func TestBodyThatTheServerReadsIsSentAsJSONInOneWord(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for i, header := range []string{"Content-Type: application/json ; charset=\"UTF-8\"", "Content-Type: Application/JSON", "Content-Type: application/json;charset=utf-8"} {
		a := raw(t, w.URL, sentOverASocket(runPath, `{"costBps":17}`, header))
		want := "HIT"
		if i == 0 {
			want = "MISS"
		}
		expect(t, a, 200, "X-Cache: "+want)
	}
	if got := last(t, up, "POST", runPath).Values("Content-Type"); len(got) != 1 || got[0] != "application/json" {
		t.Fatalf("the server got Content-Type %q, expected application/json", got)
	}
}

// The server sees no Origin, or one that is none, and answers without CORS fields.
func TestOriginThatTheServerDoesNotSeeIsNotTakenForRefused(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	tree, err := up.Strategy(t.Context(), "bot-8")
	ok(t, err)
	body := `{"payload":` + harness.Quote(harness.FreshIDs(tree)) + `}`
	const origin = "Origin: http://app.example"
	for _, header := range [][]string{
		{"Content-Type: application/json", origin, "Connection: close, Origin"},
		{"Content-Type: application/json", origin, origin},
		{"Content-Type: application/json", origin, "Origin: http://evil.example", "Connection: close"},
	} {
		w := warmfront(t, up.URL, nil)
		expect(t, raw(t, w.URL, sentOverASocket("/api/backtest", body, header...)), 200, "Access-Control-Allow-Origin:")
		for range 2 {
			expect(t, post(t, w.URL+"/api/backtest", body, origin), 200, "Access-Control-Allow-Origin: http://app.example")
		}
	}
}
