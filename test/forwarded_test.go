package test

import (
	"slices"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// last is the last request to the path that reached the server.
func last(t *testing.T, up *harness.Upstream, method, path string) harness.Received {
	t.Helper()
	all, err := up.Requests(method, path)
	ok(t, err)
	if len(all) == 0 {
		t.Fatalf("no %s %s reached the server", method, path)
	}
	return all[len(all)-1]
}

// An intercepted route, and one that is passed through.
var bothWays = []string{"/api/backtest", "/echo"}

func TestForwardedFieldsThatArriveGoOnUnchanged(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	given := map[string]string{
		"X-Forwarded-For": "203.0.113.7, 198.51.100.2", "X-Forwarded-Host": "public.example", "X-Forwarded-Proto": "https",
	}
	var header []string
	for name, value := range given {
		header = append(header, name+": "+value)
	}
	for _, path := range bothWays {
		post(t, w.URL+path, `{}`, header...)
		r := last(t, up, "POST", path)
		for name, value := range given {
			if got := r.Values(name); !slices.Equal(got, []string{value}) {
				t.Errorf("%s: %s reached the server as %q, expected %q", path, name, got, value)
			}
		}
	}
}

func TestForwardedFieldsAreSetWhereAbsent(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range bothWays {
		post(t, w.URL+path, `{}`)
		r := last(t, up, "POST", path)
		for name, want := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(w.URL, "http://"), "X-Forwarded-Proto": "http",
		} {
			if got := r.Values(name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s reached the server as %q, expected %q", path, name, got, want)
			}
		}
	}
}

func TestHostIsKeptAndNothingIsAddedThatNamesUs(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range bothWays {
		post(t, w.URL+path, `{}`, "Host: public.example", "Authorization: Bearer abc", "Cookie: a=1; b=2", "X-Custom: one", "X-Custom: two")
		r := last(t, up, "POST", path)
		for name, want := range map[string][]string{
			"Host": {"public.example"}, "Authorization": {"Bearer abc"}, "Cookie": {"a=1; b=2"}, "X-Custom": {"one", "two"},
			"User-Agent": {"warmfront-test"}, "Via": nil, "Content-Length": {"2"}, "Transfer-Encoding": nil,
		} {
			if got := r.Values(name); !slices.Equal(got, want) {
				t.Errorf("%s: %s reached the server as %q, expected %q", path, name, got, want)
			}
		}
	}
}

func TestHopByHopFieldsEndHere(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, path := range bothWays {
		post(t, w.URL+path, `{}`, "Connection: X-Hop", "X-Hop: mine", "Keep-Alive: timeout=5", "Proxy-Authorization: Basic abc", "Te: gzip")
		r := last(t, up, "POST", path)
		for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authorization", "Te"} {
			if got := r.Values(name); got != nil {
				t.Errorf("%s: hop-by-hop field %s reached the server as %q", path, name, got)
			}
		}
	}
}

func TestTargetReachesTheServerAsWritten(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, target := range []string{
		"/echo?b=2&a=1&a=%20x;y&empty=&flag", "/echo/a%2Fb/c%3Fd?x=%zz", "/echo//double/./dot/../up?q=+",
	} {
		raw(t, w.URL, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if got := last(t, up, "GET", "/echo"); got.URL != target {
			t.Errorf("%s reached the server as %s", target, got.URL)
		}
	}
}
