package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"warmfront/config"
)

func TestIfNoneMatchIsReadAsRFC9110Says(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   bool
	}{
		{nil, false}, {[]string{`"abc"`}, true}, {[]string{`W/"abc"`}, true}, {[]string{`"abc-gzip"`}, true}, {[]string{`"abc-br"`}, true}, {[]string{`"abcd-br"`}, false},
		{[]string{`"x", "abc"`}, true}, {[]string{`"x"`, `"abc"`}, true}, {[]string{`*`}, true}, {[]string{`abc`}, false},
		{[]string{`"ab"`}, false}, {[]string{`"`}, false}, {[]string{``}, false},
	} {
		if got := matches(c.fields, "abc"); got != c.want {
			t.Errorf("If-None-Match %q: %v, want %v", c.fields, got, c.want)
		}
	}
}

func TestBypassHeaderTakesItsValuesOnly(t *testing.T) {
	for _, c := range []struct {
		token  string
		values []string
		want   bypassMode
		fails  bool
	}{
		{"", nil, useCache, false}, {"", []string{"1"}, bypassAll, false}, {"", []string{"true"}, bypassAll, false},
		{"", []string{"bypass"}, bypassAll, false}, {"", []string{"refresh"}, refreshOnly, false}, {"", []string{"0"}, useCache, true},
		{"", []string{""}, useCache, true}, {"", []string{"1", "refresh"}, useCache, true}, {"", []string{"1;t"}, useCache, true},
		{"t", []string{"1;t"}, bypassAll, false}, {"t", []string{"refresh;t"}, refreshOnly, false}, {"t", []string{"1"}, useCache, true},
		{"t", []string{"1;wrong"}, useCache, true}, {"t", []string{"no;t"}, useCache, true}, {"t", nil, useCache, false},
	} {
		p := &Proxy{cfg: &config.Config{BypassHeader: "X-Cache-Bypass", BypassToken: config.Secret(c.token)}}
		got, err := p.bypass(http.Header{"X-Cache-Bypass": c.values})
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("token %q, header %q: %v, %v; want %v, error %v", c.token, c.values, got, err, c.want, c.fails)
		}
	}
}

func TestForwardedFieldsGoOnUnchangedOrAreSet(t *testing.T) {
	in := httptest.NewRequest("GET", "http://pub.example/", nil)
	in.RemoteAddr = "[::1]:999"
	in.Header["X-Forwarded-For"] = []string{"1.2.3.4, 5.6.7.8"}
	out := http.Header{}
	forwardedFields(out, in)
	want := http.Header{"X-Forwarded-For": {"1.2.3.4, 5.6.7.8"}, "X-Forwarded-Host": {"pub.example"}, "X-Forwarded-Proto": {"http"}}
	for name := range want {
		if out.Get(name) != want.Get(name) {
			t.Errorf("%s: sent %q, want %q", name, out.Get(name), want.Get(name))
		}
	}
	delete(in.Header, "X-Forwarded-For")
	forwardedFields(out, in)
	if out.Get("X-Forwarded-For") != "::1" {
		t.Errorf("without X-Forwarded-For it was set to %q, want the peer ::1", out.Get("X-Forwarded-For"))
	}
}

func TestOrdersAreNotReplayedForTheirIdempotencyKey(t *testing.T) {
	out := httptest.NewRequest("POST", "/api/live/orders", nil)
	out.Header.Set("Idempotency-Key", "k")
	dropReplay(out)
	lower := strings.ToLower("Idempotency-Key")
	if _, seen := out.Header["Idempotency-Key"]; seen || out.Header[lower][0] != "k" {
		t.Errorf("header %v: net/http would repeat this request", out.Header)
	}
}

func TestWhatIsPrivateOrUnsuccessfulIsRefused(t *testing.T) {
	ok := func() *rawAnswer {
		return &rawAnswer{status: 200, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
	}
	if reason := refusal(ok()); reason != "" {
		t.Fatalf("a plain JSON answer was refused: %s", reason)
	}
	for want, spoil := range map[string]func(*rawAnswer){
		"status":        func(a *rawAnswer) { a.status = 404 },
		"not-json":      func(a *rawAnswer) { a.header.Set("Content-Type", "text/html") },
		"set-cookie":    func(a *rawAnswer) { a.header.Set("Set-Cookie", "a=b") },
		"cache-control": func(a *rawAnswer) { a.header.Set("Cache-Control", "max-age=1, No-Store") },
		"vary":          func(a *rawAnswer) { a.header.Set("Vary", "Origin, Authorization") },
		"coding":        func(a *rawAnswer) { a.header.Set("Content-Encoding", "br") },
		"too-large":     func(a *rawAnswer) { a.rest = http.NoBody },
		"broken-off":    func(a *rawAnswer) { a.broken = http.ErrBodyReadAfterClose },
	} {
		a := ok()
		spoil(a)
		if got := refusal(a); got != want {
			t.Errorf("refused for %q, want %q", got, want)
		}
	}
}
