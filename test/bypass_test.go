package test

import (
	"regexp"
	"strings"
	"testing"

	"warmfront/test/harness"
)

func TestBypassNeitherReadsNorWrites(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	path := "/api/indicator-series"
	body := `{"conditions":[]}`
	n := 0
	for _, value := range []string{"1", "true", "bypass"} {
		a := post(t, w.URL+path, body, "X-Cache-Bypass: "+value)
		n++
		expect(t, a, 200, "X-Cache: BYPASS", "X-Cache-Tier: upstream", "Age:")
		reached(t, up, "POST "+path, n)
	}
	expect(t, post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: 1"), 200, "X-Cache: BYPASS")
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS") // nothing was written
	expect(t, post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: true"), 200, "X-Cache: BYPASS")
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT") // what was kept stays
	reached(t, up, runRoute, 3)
}

func TestRefreshWritesWithoutReading(t *testing.T) {
	t.Parallel()
	for name, refresh := range map[string]struct{ body, header string }{
		"header": {`{}`, "X-Cache-Bypass: refresh"}, "forceRefresh": {`{"forceRefresh":true}`, "X-Any: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			up := upstream(t)
			w := warmfront(t, up.URL, nil)
			old := harness.Override{Method: "POST", Path: runPath, Status: 200, Body: canned("old"), Headers: map[string]string{"Content-Type": "application/json"}}
			fresh := old
			fresh.Body = canned("new")
			override(t, up, old)
			expectBody(t, post(t, w.URL+runPath, `{}`), []byte(canned("old")))
			override(t, up, fresh)
			a := post(t, w.URL+runPath, refresh.body, refresh.header)
			expect(t, a, 200, "X-Cache: REFRESH", "X-Cache-Tier: upstream")
			expectBody(t, a, []byte(canned("new")))
			a = post(t, w.URL+runPath, `{}`)
			expect(t, a, 200, "X-Cache: HIT")
			expectBody(t, a, []byte(canned("new")))
		})
	}
}

func TestForceRefreshCountsOnlyWhenExactlyTrue(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, body := range []string{`{"forceRefresh":false}`, `{"forceRefresh":"true"}`, `{"forceRefresh":1}`, `{"forceRefresh":null}`} {
		expect(t, post(t, w.URL+runPath, body), 200, "X-Cache: HIT")
	}
	reached(t, up, runRoute, 1)
}

func TestUnknownBypassValueIs400AndNamesTheValues(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, value := range []string{"yes", "0", "refresh;", "refreshh"} {
		a := post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: "+value)
		expect(t, a, 400, "Content-Type: application/json; charset=utf-8")
		message := parsed[struct{ Error string }](t, a).Error
		for _, takes := range []string{"X-Cache-Bypass", "1", "true", "bypass", "refresh"} {
			if !strings.Contains(message, takes) {
				t.Fatalf("the error is %q, expected %q in it\n%s", message, takes, a)
			}
		}
	}
	reached(t, up, runRoute, 0)
}

func TestBypassTokenGuardsTheBypassHeader(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"BYPASS_TOKEN": "s3cret", "BYPASS_HEADER": "X-Past-The-Cache"})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, value := range []string{"1", "refresh", "1;wrong", "1;", ";s3cret", "s3cret"} {
		a := post(t, w.URL+runPath, `{}`, "X-Past-The-Cache: "+value)
		expect(t, a, 400)
		if strings.Contains(string(body(t, a)), "s3cret") {
			t.Fatalf("the error tells the token\n%s", a)
		}
	}
	expect(t, post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: 1"), 200, "X-Cache: HIT") // not the header's name here
	expect(t, post(t, w.URL+runPath, `{}`, "X-Past-The-Cache: 1;s3cret"), 200, "X-Cache: BYPASS")
	expect(t, post(t, w.URL+runPath, `{}`, "X-Past-The-Cache: refresh;s3cret"), 200, "X-Cache: REFRESH")
	reached(t, up, runRoute, 3)
}

func TestBypassHeaderStaysHere(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"BYPASS_TOKEN": "s3cret"})
	for _, mode := range []string{"bypass", "refresh"} {
		post(t, w.URL+runPath, `{}`, "X-Cache-Bypass: "+mode+";s3cret")
		if got := last(t, up, "POST", runPath).Values("X-Cache-Bypass"); got != nil {
			t.Errorf("%s: the bypass header with its token reached the server: %q", mode, got)
		}
	}
}

var keyForm = regexp.MustCompile(`^(backtest|sanity|correlation|indicators|benchmarks|candles):(-|[A-Za-z0-9_.~%-]+):[0-9a-f]{64}:\d{4}-\d\d-\d\d$`)

func TestDebugHeaderShowsTheKey(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	_, ready, err := harness.Ready(w.URL)
	ok(t, err)
	for path, starts := range map[string]string{
		"/api/candles/SPY?limit=60": "candles:-:", "/api/benchmarks/metrics?tickers=SPY": "benchmarks:-:",
	} {
		expect(t, get(t, w.URL+path), 200, "X-Cache-Key:")
		expectKey(t, get(t, w.URL+path, "X-Cache-Debug: 1"), starts, *ready.DataDate)
	}
	miss := post(t, w.URL+runPath, `{}`, "X-Cache-Debug: 1")
	expectKey(t, miss, "backtest:bot-7:", *ready.DataDate)
	for _, same := range []string{``, `{"mode":"CC","costBps":5,"benchmarkTicker":"SPY"}`, ` { "costBps" : 5.0 } `} {
		a := post(t, w.URL+runPath, same, "X-Cache-Debug: 1")
		expect(t, a, 200, "X-Cache: HIT", "X-Cache-Key: "+miss.Header.Get("X-Cache-Key"))
	}
	for _, other := range []string{`{"mode":"OO"}`, `{"costBps":0}`} {
		a := post(t, w.URL+runPath, other, "X-Cache-Debug: 1")
		expect(t, a, 200, "X-Cache: MISS")
		if a.Header.Get("X-Cache-Key") == miss.Header.Get("X-Cache-Key") {
			t.Fatalf("another request has the same key\n%s", a)
		}
	}
}

func expectKey(t *testing.T, a *harness.Answer, starts, date string) {
	t.Helper()
	key := a.Header.Get("X-Cache-Key")
	if !keyForm.MatchString(key) || !strings.HasPrefix(key, starts) || !strings.HasSuffix(key, ":"+date) {
		t.Fatalf("X-Cache-Key is %q, expected %s<sha256>:%s\n%s", key, starts, date, a)
	}
}
