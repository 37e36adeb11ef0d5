package test

import (
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

func TestLogsTellNothingOfBodiesAndCredentials(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	const secret = "s3cr3t-marker"
	for _, format := range []string{"json", "console"} {
		w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "LOG_LEVEL": "debug", "LOG_FORMAT": format, "ADMIN_TOKEN": secret + "-admin",
			"BYPASS_TOKEN": secret + "-bypass"})
		header := []string{"Authorization: Bearer " + secret, "Cookie: session=" + secret}
		for _, body := range []string{
			`{}`, `{"mode":"` + secret + `"}`, `{"payload":"{\"id\":\"` + secret + `\"}"}`, `{"` + secret, `{"a":"` + secret + `","a":"` + secret + `"}`,
		} {
			for _, path := range []string{runPath, "/api/backtest", "/api/sanity-report", "/api/correlation/optimize", "/api/indicator-series", "/echo", "/api/auth/login"} {
				post(t, w.URL+path, body, header...)
				post(t, w.URL+path, body, append(header, "X-Cache-Bypass: 1;"+secret+"-bypass")...)
				post(t, w.URL+path, body, append(header, "X-Cache-Bypass: "+secret)...)
			}
		}
		override(t, up, harness.Override{Method: "POST", Path: runPath, Status: 200, Headers: asJSON, Body: canned(secret), BreakAfter: 60})
		_, _ = harness.Send(limit(t), client(t), harness.Request{Method: "POST", URL: w.URL + runPath, Body: []byte(`{"mode":"OC","x":"` + secret + `"}`), Header: header})
		get(t, w.URL+"/_warmfront/stats", "Authorization: Bearer "+secret+"-admin")
		w.Stop()
		for line := range strings.Lines(w.Output()) {
			if strings.Contains(line, secret) {
				t.Errorf("the log tells a secret: %s", line)
			}
		}
		if len(w.Output()) < 100 {
			t.Errorf("there is no log to look at: %q", w.Output())
		}
	}
}

func TestServerThatAsksForCredentialsIsNeverAnsweredFor(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, harness.Env{"AUTH_BOTS": "1"})
	w := launched(t, up.URL, nil)
	until(t, func() error {
		_, ready, err := harness.Ready(w.URL)
		if err == nil && ready.DataDate == nil {
			err = fmt.Errorf("no data date yet")
		}
		return err
	})
	login := post(t, up.URL+"/api/auth/login", `{"email":"a@example.com","password":"password-a"}`)
	expect(t, login, 200)
	token := parsed[struct{ AccessToken string }](t, login).AccessToken
	for range 2 {
		expect(t, post(t, w.URL+runPath, `{}`, "Authorization: Bearer "+token), 200)
		a := post(t, w.URL+runPath, `{}`)
		expect(t, a, 401)
		sameBody(t, a, post(t, up.URL+runPath, `{}`))
	}
}

func TestPrivateRoutesAreNeverKept(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range []string{"/api/bots/bot-7?", "/api/bots?userId=1&", "/api/nexus/bots?", "/api/status?", "/api/tickers/registry/stats?", "/api/admin/me?"} {
		path += "of=this-test"
		direct := get(t, up.URL+path)
		for range 2 {
			expect(t, get(t, w.URL+path), direct.Status, "X-Cache:", "Age:")
		}
		got, err := up.Requests("GET", path)
		ok(t, err)
		if len(got) != 3 {
			t.Errorf("%d of 3 requests to %s reached the server", len(got), path)
		}
	}
}

func TestOwnEndpointsAreNeverForwarded(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for path, status := range map[string]int{
		"/_warmfront/healthz": 200, "/_warmfront/readyz": 200, "/_warmfront/metrics": 200, "/_warmfront/stats": 403, "/_warmfront/": 403,
		"/_warmfront/events": 403, "/_warmfront/warm": 403, "/_warmfront/unknown": 404,
	} {
		expect(t, get(t, w.URL+path), status)
	}
	expect(t, post(t, w.URL+"/_warmfront/purge", `{"all":true}`), 403)
	all, err := up.Requests("GET", "/_warmfront")
	ok(t, err)
	if len(all) > 0 {
		t.Fatalf("requests for Warmfront reached the server: %v", all)
	}
	if metrics := get(t, w.URL+"/_warmfront/metrics"); !strings.Contains(string(body(t, metrics)), "\nwarmfront_") {
		t.Fatalf("no metrics of Warmfront's own\n%s", metrics)
	}
}
