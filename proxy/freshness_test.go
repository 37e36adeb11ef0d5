package proxy

import (
	"net/http"
	"testing"
	"time"
)

func TestFreshnessIsReadAsRFC9111Says(t *testing.T) {
	now := time.Date(2026, 1, 14, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		name    string
		header  http.Header
		refused bool
		fresh   time.Duration // 0: not given
		strict  bool
	}{
		{"nothing", http.Header{}, false, 0, false},
		{"public", http.Header{"Cache-Control": {"public"}}, false, 0, false},
		{"no-store", http.Header{"Cache-Control": {"max-age=1, No-Store"}}, true, 0, false},
		{"private", http.Header{"Cache-Control": {"Private"}}, true, 0, false},
		{"private fields", http.Header{"Cache-Control": {`private="x-a, x-b"`}}, true, 0, false},
		{"no-cache", http.Header{"Cache-Control": {"no-cache"}}, true, 0, false},
		{"no-cache fields", http.Header{"Cache-Control": {`no-cache="Set-Cookie"`}}, true, 0, false},
		{"in the second line", http.Header{"Cache-Control": {"public", "no-cache"}}, true, 0, false},
		{"max-age=0", http.Header{"Cache-Control": {"max-age=0"}}, true, 0, false},
		{"max-age=0, must-revalidate", http.Header{"Cache-Control": {"public, max-age=0, must-revalidate"}}, true, 0, true},
		{"s-maxage=0", http.Header{"Cache-Control": {"max-age=60, s-maxage=0"}}, true, 0, true},
		{"max-age=0 beside s-maxage", http.Header{"Cache-Control": {"max-age=0, s-maxage=60"}}, true, 0, true},
		{"max-age", http.Header{"Cache-Control": {"max-age=60"}}, false, time.Minute, false},
		{"quoted", http.Header{"Cache-Control": {`max-age="60"`}}, false, time.Minute, false},
		{"two of them", http.Header{"Cache-Control": {"max-age=60", "max-age=30"}}, false, 30 * time.Second, false},
		{"s-maxage", http.Header{"Cache-Control": {"s-maxage=60"}}, false, time.Minute, true},
		{"must-revalidate", http.Header{"Cache-Control": {"must-revalidate"}}, false, 0, true},
		{"malformed", http.Header{"Cache-Control": {"max-age=soon"}}, true, 0, false},
		{"negative", http.Header{"Cache-Control": {"max-age=-1"}}, true, 0, false},
		{"huge", http.Header{"Cache-Control": {"max-age=99999999999"}}, false, maxSeconds * time.Second, false},
		{"without a value", http.Header{"Cache-Control": {"max-age"}}, true, 0, false},
		{"for caches of a CDN", http.Header{"Cache-Control": {"public"}, "Cdn-Cache-Control": {"no-store"}}, true, 0, false},
		{"aged", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"20"}}, false, 40 * time.Second, false},
		{"aged out", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"60"}}, true, 0, false},
		{"expires", http.Header{"Expires": {at(time.Minute)}, "Date": {at(0)}}, false, time.Minute, false},
		{"expired", http.Header{"Expires": {at(-time.Minute)}}, true, 0, false},
		{"expires now", http.Header{"Expires": {at(0)}, "Date": {at(0)}}, true, 0, false},
		{"expires at no time", http.Header{"Expires": {"0"}}, true, 0, false},
		{"max-age counts before expires", http.Header{"Expires": {"0"}, "Cache-Control": {"max-age=60"}}, false, time.Minute, false},
		{"by the server's clock", http.Header{"Expires": {at(2 * time.Minute)}, "Date": {at(time.Minute)}}, false, time.Minute, false},
		{"pragma", http.Header{"Pragma": {"No-Cache"}}, true, 0, false},
		{"pragma beside cache-control", http.Header{"Pragma": {"no-cache"}, "Cache-Control": {"max-age=60"}}, false, time.Minute, false},
	} {
		f := freshnessOf(c.header, now)
		if f.refused != c.refused || !c.refused && (f.limited != (c.fresh > 0) || f.fresh != c.fresh) || f.strict != c.strict {
			t.Errorf("%s: %v gives %+v, want refused %v, fresh %v, strict %v", c.name, c.header, f, c.refused, c.fresh, c.strict)
		}
	}
}

func TestAnswersThatVaryForWhatIsNotKeyedAreNotStored(t *testing.T) {
	for _, c := range []struct {
		vary []string
		want bool
	}{
		{nil, false}, {[]string{"Origin"}, false}, {[]string{"Origin, Accept-Encoding"}, false}, {[]string{"origin", "ACCEPT-ENCODING"}, false},
		{[]string{"Access-Control-Request-Method, Access-Control-Request-Headers"}, false}, {[]string{" , Origin,"}, false},
		{[]string{"*"}, true}, {[]string{"Authorization"}, true}, {[]string{"Origin", "Cookie"}, true}, {[]string{"Accept-Language"}, true},
		{[]string{"Origin, X-Forwarded-For"}, true},
	} {
		if got := variesFor(http.Header{"Vary": c.vary}); got != c.want {
			t.Errorf("Vary %q: %v, want %v", c.vary, got, c.want)
		}
	}
}

func TestOnlyWhatAnswersTheRequestsMeaningIsSharedWithWhoWaited(t *testing.T) {
	asJSON := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	with := func(name, value string) http.Header {
		h := asJSON.Clone()
		h.Set(name, value)
		return h
	}
	for _, c := range []struct {
		status int
		header http.Header
		want   bool
	}{
		{200, asJSON, true}, {400, asJSON, true}, {404, asJSON, true}, {422, asJSON, true}, {500, asJSON, true}, {502, nil, true},
		{503, nil, true}, {504, nil, true},
		{400, with("Content-Type", "text/html"), false}, {404, with("Content-Type", "text/html"), false},
		{401, asJSON, false}, {403, asJSON, false}, {407, asJSON, false}, {413, asJSON, false}, {415, asJSON, false}, {417, nil, false},
		{429, asJSON, false}, {431, asJSON, false}, {301, asJSON, false}, {302, asJSON, false}, {304, nil, false}, {206, asJSON, false},
		{201, asJSON, false}, {421, asJSON, false}, {451, asJSON, false}, {508, asJSON, false}, {511, asJSON, false},
		{200, with("Set-Cookie", "a=b"), false}, {500, with("Set-Cookie", "a=b"), false}, {200, with("Vary", "Cookie"), false},
		{200, with("Cache-Control", "private"), false}, {404, with("Cache-Control", "no-store"), false},
		{500, with("Cache-Control", "no-store"), true}, {500, with("Cache-Control", "private"), false}, {200, with("Vary", "Origin"), true},
	} {
		if got := shareable(&rawAnswer{status: c.status, header: c.header}); got != c.want {
			t.Errorf("status %d, %v: shared %v, want %v", c.status, c.header, got, c.want)
		}
	}
}
