package test

import (
	"fmt"
	"testing"

	"warmfront/test/harness"
)

// Each of these servers answers a question about a bot that can't exist as one that protects nothing does.
func TestProtectedServersAreNeverAnsweredFor(t *testing.T) {
	t.Parallel()
	const unauthorized, forbidden, hidden = 401, 403, 404
	for style, c := range map[string]struct {
		nobody, other int // what the server says to who shows nothing, and to B
	}{
		"token": {unauthorized, forbidden}, "post": {unauthorized, forbidden}, "malformed": {unauthorized, forbidden}, "hidden": {hidden, hidden},
		"api-key": {unauthorized, forbidden}, "address": {forbidden, forbidden},
	} {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			up, r := ownUpstream(t, harness.Env{"ACCESS_STYLE": style}), redisServer(t)
			env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false"}
			one, two := protecting(t, up.URL, env), protecting(t, up.URL, env)
			a, b, nobody := "X-API-Key: key-user-a", "X-API-Key: key-user-b", "X-Nothing: 1"
			switch style {
			case "api-key":
			case "address":
				a, b, nobody = "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2", "X-Forwarded-For: 10.0.0.3"
			default:
				a, b = callers(t, up)
			}
			again := "X-Cache: HIT"
			if style == "address" {
				again = "X-Cache: *" // who asks can't be told from others
			}
			expect(t, post(t, one.URL+runPath, `{}`, a), 200)
			for _, w := range []*harness.Server{one, two, one} {
				expect(t, post(t, w.URL+runPath, `{}`, a), 200, again)
				expect(t, post(t, w.URL+runPath, `{}`, b), c.other, "X-Cache: PASS")
				expect(t, post(t, w.URL+runPath, `{}`, nobody), c.nobody, "X-Cache: PASS")
			}
			// What is computed of the request itself is nobody's secret to this server, but not everybody's to ask for.
			own := `{"payload":"{\"id\":\"p\",\"kind\":\"position\",\"positions\":[\"SPY\"]}"}`
			if style == "hidden" {
				c.nobody = unauthorized
			}
			for _, w := range []*harness.Server{one, two} {
				expect(t, post(t, w.URL+"/api/backtest", own, a), 200)
				expect(t, post(t, w.URL+"/api/backtest", own, nobody), c.nobody, "X-Cache: PASS")
			}
		})
	}
}

func TestServerThatBecomesProtectedIsAnsweredForByNoReplicaFromTheFirstRefusalOn(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, nil), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "METRICS_WRITEBACK": "false", "REVISION_INTERVAL": "1h"}
	one, two := protecting(t, up.URL, env), protecting(t, up.URL, env)
	a, b := callers(t, up)
	expect(t, post(t, one.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, w := range []*harness.Server{one, two} {
		for _, who := range []string{a, b, "X-Nothing: 1"} {
			expect(t, post(t, w.URL+runPath, `{}`, who), 200, "X-Cache: HIT")
		}
	}
	expect(t, post(t, up.URL+"/__test/access", `{"style":"token"}`), 200)
	expect(t, post(t, one.URL+runPath, `{"mode":"OO"}`), 401, "X-Cache: PASS") // the first that the server gets to see
	late := protecting(t, up.URL, env)
	for _, w := range []*harness.Server{one, two, late} {
		expect(t, post(t, w.URL+runPath, `{}`), 401, "X-Cache: PASS")
		expect(t, post(t, w.URL+runPath, `{}`, b), 403, "X-Cache: PASS")
	}
	expect(t, post(t, up.URL+"/__test/access", `{"style":"open"}`), 200)
	expect(t, post(t, two.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, w := range []*harness.Server{two, one} {
		until(t, func() error { // strangers were refused: it takes a moment to see that they no longer are
			if got := post(t, w.URL+runPath, `{}`); got.Header.Get("X-Cache") != "HIT" {
				return fmt.Errorf("no hit\n%s", got)
			}
			return nil
		})
	}
}

func TestGrantedServesWhomTheServerLetHaveItOnly(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, nil)
	w := protecting(t, up.URL, harness.Env{"ACCESS": "granted"})
	path := "/api/candles/TLT?limit=77"
	for _, who := range []string{"Authorization: Bearer x", "X-API-Key: x", "Cookie: session=x"} {
		expect(t, get(t, w.URL+path, who), 200, "X-Cache: MISS")
		expect(t, get(t, w.URL+path, who), 200, "X-Cache: HIT")
	}
	for range 2 {
		expect(t, get(t, w.URL+path), 200, "X-Cache: MISS")
	}
}

func TestConfiguredHeadersTellWhoAsks(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, nil)
	w := protecting(t, up.URL, harness.Env{"ACCESS": "granted", "CREDENTIAL_HEADERS": "X-Desk,X-Forwarded-For"})
	path := "/api/candles/TLT?limit=78"
	for _, who := range []string{"X-Desk: 1", "X-Desk: 2", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"} {
		expect(t, get(t, w.URL+path, who), 200, "X-Cache: MISS")
		expect(t, get(t, w.URL+path, who), 200, "X-Cache: HIT")
	}
}
