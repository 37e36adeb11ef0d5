package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// malformed are bodies that are not keyed, and must lose nothing on their way.
var malformed = map[string]string{
	"malformed":              `{"payload":}`,
	"truncated":              `{"payload":{"id":"root","kind":"bas`,
	"duplicate keys":         `{"mode":"CC","mode":"OO","payload":"{}"}`,
	"duplicate inner keys":   `{"payload":"{\"id\":\"a\",\"id\":\"b\"}"}`,
	"600 deep":               `{"payload":` + strings.Repeat(`[`, 600) + strings.Repeat(`]`, 600) + `}`,
	"100000 deep":            `{"payload":` + strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000) + `}`,
	"NUL":                    "{\"payload\":\"a\x00b\"}",
	"NUL before and after":   "\x00{\"payload\":\"{}\"}\x00",
	"not UTF-8":              "{\"payload\":\"\xff\xfe\xc3\x28\"}",
	"lone surrogate":         `{"payload":"\ud800"}`,
	"a byte order mark":      "\xef\xbb\xbf{\"payload\":1}",
	"UTF-16":                 "{\x00}\x00",
	"an array":               `[1,2,3]`,
	"a string":               `"payload"`,
	"a number":               `17`,
	"null":                   `null`,
	"nothing":                ``,
	"two values":             `{}{}`,
	"a comment":              `{/* */}`,
	"a number out of range":  `{"costBps":1e999,"mode":"CC"}`,
	"a number past doubles":  `{"costBps":12345678901234567890123,"mode":"CC"}`,
	"a prototype":            `{"__proto__":{"mode":"OO"},"constructor":1}`,
	"malformed inner JSON":   `{"payload":"{\"id\":"}`,
	"a payload of many MB":   `{"mode":5,"payload":17,"pad":"` + strings.Repeat("pad ", 5<<20) + `"}`,
	"a payload just under":   `{"mode":5,"payload":17,"pad":"` + strings.Repeat("a", 15<<20) + `"}`,
	"many fields":            `{` + strings.Repeat(`"a":1,`, 1000) + `"b":2}`,
	"a very long field name": `{"` + strings.Repeat("n", 1<<20) + `":1}`,
}

func TestBadBodiesReachTheServerByteForByte(t *testing.T) {
	t.Parallel()
	// Some of them are strategies to the server's parser. Two computations must not differ then.
	up := ownUpstream(t, harness.Env{"TRAPS_OFF": "volatile-fields"})
	w := warmfront(t, up.URL, nil)
	for name, sent := range malformed {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/api/backtest", "/api/bots/nobody/sanity-report", "/upload"} {
				direct := post(t, up.URL+path, sent)
				a := post(t, w.URL+path, sent)
				expect(t, a, direct.Status, "Content-Type: "+direct.Header.Get("Content-Type"))
				sameBody(t, a, direct)
				if x := a.Header.Get("X-Cache"); x == "HIT" || x == "MISS" {
					t.Fatalf("X-Cache is %q, expected it not to be kept\n%s", x, a)
				}
				sum := sha256.Sum256([]byte(sent))
				r := last(t, up, "POST", path)
				if r.BodyLength != len(sent) || r.BodySHA256 != hex.EncodeToString(sum[:]) {
					t.Fatalf("%s: sent %d bytes (sha256 %x), the server got %d (sha256 %s)", path, len(sent), sum, r.BodyLength, r.BodySHA256)
				}
			}
		})
	}
}

func TestBodyOfAnotherTypeOrCodingIsTheServersToJudge(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, header := range [][]string{
		{"Content-Type: text/plain"}, {"Content-Type: application/x-www-form-urlencoded"}, {"Content-Type: application/json; charset=utf-16"},
		{"Content-Encoding: gzip"}, {"Content-Encoding: x-unknown"}, {"Content-Type: multipart/form-data; boundary=x"},
	} {
		direct, a := post(t, up.URL+"/api/backtest", `{"mode":"CC"}`, header...), post(t, w.URL+"/api/backtest", `{"mode":"CC"}`, header...)
		expect(t, a, direct.Status, "X-Cache: PASS")
		sameBody(t, a, direct)
	}
}

func TestBodyShorterThanItsContentLengthIs400(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range []string{"/api/backtest", runPath, "/echo", "/upload", orders} {
		a := cutShort(t, w.URL, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"short\":1")
		if a.Status != 400 {
			t.Errorf("%s: expected 400\n%s", path, a)
			continue
		}
		if message := parsed[struct{ Error string }](t, a).Error; !strings.Contains(message, "Content-Length") {
			t.Fatalf("the error is %q, expected it to name Content-Length\n%s", message, a)
		}
		expect(t, get(t, w.URL+"/_warmfront/healthz"), 200)
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
}

func TestBrokenRequestsDoNotBreakTheServer(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, sent := range []string{
		"POST /api/backtest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /api/backtest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
		"POST /api/backtest HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"GET /api/candles/SPY HTTP/1.1\r\n\r\n",
		"GARBAGE\r\n\r\n",
	} {
		if a := raw(t, w.URL, sent); a.Status/100 != 4 {
			t.Errorf("expected 4xx\n%s", a)
		}
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
}

// oddIDs are bot ids as they stand in the path, escaped.
var oddIDs = map[string]string{
	"colon": "a:b", "escaped colon": "a%3Ab", "twice escaped colon": "a%253Ab", "escaped slash": "a%2Fb", "dots": "..", "escaped dots": "%2e%2e",
	"dot": ".", "newline": "a%0Ab", "CR LF and a command": "a%0D%0ASET%20x%20y", "NUL": "a%00b", "dash": "-", "star": "*", "brackets": "[a]",
	"space": "a%20b", "plus": "a+b", "unicode": "%C3%A9", "not UTF-8": "%ff%fe", "bad escape": "a%zzb", "4 KB": strings.Repeat("long", 1024),
	"4 KB escaped": strings.Repeat("%3A", 1365), "braces": "{x}", "trash": "trash", "empty": "", "key of another": "-:0000:2020-01-01",
}

func TestOddBotIDsAreAnsweredAsTheServerDoes(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	for name, id := range oddIDs {
		t.Run(name, func(t *testing.T) {
			request := "POST /api/bots/" + id + "/run-backtest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
			direct := raw(t, up.URL, request)
			a := raw(t, w.URL, request)
			if id == "a%zzb" && a.Status == 400 { // no HTTP server of Go's takes such a target
				return
			}
			expect(t, a, direct.Status)
			sameBody(t, a, direct)
		})
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	expect(t, get(t, w.URL+"/_warmfront/readyz"), 200)
}

func TestBotsWithAlikeIDsNeverShareAnAnswer(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	w, other := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	keys := map[string]string{}
	escaped := []string{"x:y", "x%253Ay", "x%2Fy", "x%0Ay", "x%20y", "x%2520y", "X:y", "-", "%252D", strings.Repeat("l", 4096), strings.Repeat("l", 4095) + "m"}
	for i, id := range escaped {
		// Whatever the server thinks of such ids, to Warmfront these bots exist and differ.
		override(t, up, harness.Override{Method: "GET", Path: "/api/bots/" + id, Times: 1000, Status: 200, Headers: asJSON,
			Body: `{"bot":{"id":"any","ownerId":"o","payload":"{\"id\":\"n\",\"kind\":\"position\",\"positions\":[\"SPY\"]}","updatedAt":"2024-01-01"}}`})
		override(t, up, harness.Override{Method: "POST", Path: "/api/bots/" + id + "/run-backtest", Times: 1000, Status: 200, Headers: asJSON,
			Body: canned(fmt.Sprint("bot number ", i))})
	}
	for _, w := range []*harness.Server{w, w, other} {
		for i, id := range escaped {
			a := raw(t, w.URL, "POST /api/bots/"+id+"/run-backtest HTTP/1.1\r\nHost: x\r\nX-Cache-Debug: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
			expect(t, a, 200, "X-Cache-Key: *")
			expectBody(t, a, []byte(canned(fmt.Sprint("bot number ", i))))
			key := a.Header.Get("X-Cache-Key")
			if before, taken := keys[key]; taken && before != id || !keyForm.MatchString(key) || bytes.ContainsAny([]byte(key), "\r\n/ ") {
				t.Fatalf("the key %q of %q is taken by %q, or not in form\n%s", key, id, before, a)
			}
			keys[key] = id
		}
	}
	if len(keys) != len(escaped) {
		t.Fatalf("%d keys for %d bots", len(keys), len(escaped))
	}
}
