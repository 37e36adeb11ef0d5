package test

import (
	"strconv"
	"testing"

	"warmfront/test/harness"
)

func TestMissThenMemoryHitThenRestartThenRedisHit(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	w := warmfront(t, up.URL, env)

	miss := post(t, w.URL+runPath, `{}`)
	expect(t, miss, 200, "X-Cache: MISS", "X-Cache-Tier: upstream", "Etag: *", "Server-Timing: *", "Age:")
	expectCacheStatus(t, miss, "fwd=miss", "stored")
	memory := post(t, w.URL+runPath, `{}`)
	expect(t, memory, 200, "X-Cache: HIT", "X-Cache-Tier: memory", "Age: *", "Etag: "+miss.Header.Get("Etag"), "Server-Timing: *")
	expectCacheStatus(t, memory, "hit", "ttl=", "detail=memory")
	sameBody(t, memory, miss)

	w.Stop()
	w = warmfront(t, up.URL, env)
	shared := post(t, w.URL+runPath, `{}`)
	expect(t, shared, 200, "X-Cache: HIT", "X-Cache-Tier: redis", "Age: *", "Etag: "+miss.Header.Get("Etag"))
	expectCacheStatus(t, shared, "hit", "ttl=", "detail=redis")
	sameBody(t, shared, miss)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT", "X-Cache-Tier: memory")
	reached(t, up, runRoute, 1)
}

func TestHitIsWhatTheServerSentByteForByte(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	// Spaces, order and escapes that any re-encoding would lose.
	said := `{ "success":true,"zeta":1.0,"alpha":"\u00e9\/", "metrics":{"cagr":1e-7},
		"equityCurve":[{"date":"2099-12-31","equity":1.50}],"benchmarkCurve":[],"allocations":[] }` + "\n"
	override(t, up, harness.Override{Method: "POST", Path: runPath, Status: 200, Body: said, Headers: map[string]string{
		"Content-Type": "application/json; charset=utf-8", "X-Of-The-Server": "yes",
	}})
	for _, want := range []string{"MISS", "HIT"} {
		a := post(t, w.URL+runPath, `{}`)
		expect(t, a, 200, "X-Cache: "+want, "Content-Type: application/json; charset=utf-8", "X-Of-The-Server: yes")
		expectBody(t, a, []byte(said))
	}
}

func TestHitCarriesTheSecurityHeadersOfTheServer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	direct := get(t, up.URL+"/api/candles/SPY?limit=100")
	expect(t, get(t, w.URL+"/api/candles/SPY?limit=100"), 200, "X-Cache: MISS")
	hit := get(t, w.URL+"/api/candles/SPY?limit=100")
	expect(t, hit, 200, "X-Cache: HIT")
	sameBody(t, hit, direct)
	for _, name := range []string{"Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "Content-Type", "Referrer-Policy"} {
		if want := direct.Header.Get(name); want == "" || hit.Header.Get(name) != want {
			t.Errorf("%s is %q on a hit, expected the server's own %q\n%s", name, hit.Header.Get(name), want, hit)
		}
	}
}

func TestClientsGetTheCodingThatTheyAccept(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	url := w.URL + "/api/candles/QQQ?limit=400"
	plain := get(t, up.URL+"/api/candles/QQQ?limit=400", "Accept-Encoding: identity")
	for _, c := range []struct{ accept, coding string }{
		{"identity", ""}, {"gzip", "gzip"}, {"gzip, deflate, br", "gzip"}, {"gzip;q=0", ""}, {"br;q=0", ""},
	} {
		a := get(t, url, "Accept-Encoding: "+c.accept)
		expect(t, a, 200, "Content-Encoding: "+c.coding, "Content-Length: "+strconv.Itoa(len(a.Wire)))
		sameBody(t, a, plain)
	}
	none := get(t, url) // says nothing about codings: gets none
	expect(t, none, 200, "X-Cache: HIT", "Content-Encoding:")
	sameBody(t, none, plain)
}

func TestETagIsStrongAndRevalidates(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	url := w.URL + "/api/candles/QQQ?limit=300"
	get(t, url)
	plain, packed := get(t, url), get(t, url, "Accept-Encoding: gzip")
	for _, a := range []*harness.Answer{plain, packed} {
		tag := a.Header.Get("Etag")
		if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
			t.Fatalf("ETag is %q, expected a strong one\n%s", tag, a)
		}
	}
	if plain.Header.Get("Etag") == packed.Header.Get("Etag") {
		t.Fatalf("two codings share the strong ETag %s\n%s", plain.Header.Get("Etag"), packed)
	}
	for _, a := range []*harness.Answer{plain, packed} {
		accept := "Accept-Encoding: " + a.Header.Get("Content-Encoding")
		again := get(t, url, accept, "If-None-Match: "+a.Header.Get("Etag"))
		expect(t, again, 304, "X-Cache: HIT", "Etag: "+a.Header.Get("Etag"), "Content-Encoding:", "Vary: *")
		if len(again.Wire) != 0 {
			t.Fatalf("304 with a body\n%s", again)
		}
	}
	expect(t, get(t, url, `If-None-Match: "other"`), 200, "X-Cache: HIT")
}

func TestConditionsAndRangesNeverMakeAStoredAnswerPartial(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	direct := get(t, up.URL+"/api/candles/GLD?limit=200")
	first := get(t, w.URL+"/api/candles/GLD?limit=200", "Range: bytes=0-9", "If-None-Match: "+direct.Header.Get("Etag"))
	if first.Status != 200 && first.Status != 304 {
		t.Fatalf("expected the whole answer, or 304\n%s", first)
	}
	second := get(t, w.URL+"/api/candles/GLD?limit=200")
	expect(t, second, 200, "X-Cache: HIT")
	sameBody(t, second, direct)
}
