package proxy

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestOnlyWhatTheServersBodyParserReadsAsJSONIsKeyed(t *testing.T) {
	for _, c := range []struct {
		contentType, coding []string
		want                bool
	}{
		{[]string{"application/json"}, nil, true},
		{[]string{"application/json; charset=UTF-8"}, nil, true},
		{[]string{"application/json;charset=\"utf-8\""}, nil, true},
		{[]string{"application/json; charset=\"ut\\f-8\""}, nil, true},
		{[]string{"application/json ; a = b ;charset= utf-8 "}, nil, true},
		{[]string{"Application/JSON"}, []string{"identity"}, true},
		{nil, nil, false},
		{[]string{""}, nil, false},
		{[]string{"text/plain"}, nil, false},
		{[]string{"application/json;"}, nil, false},
		{[]string{"application/json; charset=utf-8;"}, nil, false},
		{[]string{"application/json;\tcharset=utf-8"}, nil, false},
		{[]string{"application/json; charset=utf-16"}, nil, false},
		{[]string{"application/json; charset=utf-8; charset=utf-16"}, nil, false},
		{[]string{"application/json; charset="}, nil, false},
		{[]string{"application/json; charset"}, nil, false},
		{[]string{"application/json; charset=\"utf-8"}, nil, false},
		{[]string{"application/json charset=utf-8"}, nil, false},
		{[]string{"application/json, text/plain"}, nil, false},
		{[]string{"application/vnd.x+json"}, nil, false},
		{[]string{"application/json", "application/json"}, nil, false},
		{[]string{"application/json"}, []string{"gzip"}, false},
		{[]string{"application/json"}, []string{"identity", "gzip"}, false},
	} {
		h := http.Header{}
		if c.contentType != nil {
			h["Content-Type"] = c.contentType
		}
		if c.coding != nil {
			h["Content-Encoding"] = c.coding
		}
		if got := readsBody(h); got != c.want {
			t.Errorf("Content-Type %q, Content-Encoding %q: read as JSON %v, want %v", c.contentType, c.coding, got, c.want)
		}
	}
}

// The expressions of media-typer 0.3.0, which type-is reads a request's Content-Type with, byte for character.
var (
	mediaType  = regexp.MustCompile(`^ *([A-Za-z0-9][A-Za-z0-9!#$&^_-]{0,126})/([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}) *$`)
	parameter  = "; *([!#$%&'*+\\-.0-9A-Z^_`a-z|~]+) *= *(\"(?:[ !\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\x20-\\x7e\\x80-\\xff])*\"|[!#$%&'*+\\-.0-9A-Z^_`a-z|~]+) *"
	parameters = regexp.MustCompile("^(?:" + parameter + ")*$")
	one        = regexp.MustCompile(parameter)
	escape     = regexp.MustCompile(`\\(.)`)
)

// readAsJSON is jsonType as the server's parsers have it.
func readAsJSON(value string) (taken, inUTF8 bool) {
	characters := make([]rune, len(value))
	for i := range characters {
		characters[i] = rune(value[i])
	}
	value = string(characters)
	media, rest, found := strings.Cut(value, ";")
	if found {
		rest = ";" + rest
	}
	if m := mediaType.FindStringSubmatch(media); m == nil || !strings.EqualFold(m[1]+"/"+m[2], "application/json") || !parameters.MatchString(rest) {
		return false, false
	}
	for _, m := range one.FindAllStringSubmatch(rest, -1) {
		given := m[2]
		if strings.HasPrefix(given, `"`) {
			given = escape.ReplaceAllString(given[1:len(given)-1], "$1")
		}
		if strings.EqualFold(m[1], "charset") && !strings.EqualFold(given, "utf-8") {
			return true, false
		}
	}
	return true, true
}

func FuzzMediaTypeIsReadAsTheServerDoes(f *testing.F) {
	for _, value := range []string{
		"application/json", " application/json ; charset=utf-8", "application/json;", "application/json;\tcharset=utf-8",
		`application/json; a="b;\"c"; charset="utf-8"`, "application/json; charset=utf-8; charset=latin1", "application/json;;", "text/json", `application/json; a="b"c=d`,
		"application/j\u017fon", "application/json; a=\"\xe9\\\xff\"", "application/json; a=\xe9",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := http.Header{"Content-Type": {value}}
		if taken, inUTF8 := readAsJSON(value); takesBody(h) != taken || readsBody(h) != inUTF8 {
			t.Errorf("%q: taken %v, read as JSON %v; want %v, %v", value, takesBody(h), readsBody(h), taken, inUTF8)
		}
	})
}

func TestNothingIsConcludedFromFieldsThatTheServerDoesNotSee(t *testing.T) {
	in := http.Header{
		"Connection": {"close, Origin,content-type", "cookie"}, "Origin": {"http://a"}, "Content-Type": {"application/json"},
		"Cookie": {"a=b"}, "Authorization": {"Bearer x"}, "Te": {"trailers"}, "Accept": {"*/*"},
	}
	before := in.Clone()
	want := http.Header{"Authorization": {"Bearer x"}, "Accept": {"*/*"}}
	if got := endToEnd(in); !reflect.DeepEqual(got, want) {
		t.Errorf("the server sees %v, want %v", got, want)
	}
	if !reflect.DeepEqual(in, before) {
		t.Errorf("the request's own fields became %v, want them as they were, %v", in, before)
	}
	if got := newCredentialNames(nil).of(endToEnd(in), "").fields; !reflect.DeepEqual(got, http.Header{"Authorization": {"Bearer x"}}) {
		t.Errorf("credentials %v, want those that the server sees", got)
	}
}

func TestOriginIsTheOneThatTheServerSees(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		origin string
		ok     bool
	}{
		{http.Header{}, "", true},
		{http.Header{"Origin": {"http://a"}}, "http://a", true},
		{http.Header{"Origin": {"http://a"}, "Connection": {"close, Origin"}}, "", true},
		{http.Header{"Origin": {"http://a", "http://b"}}, "http://a", false},
		{http.Header{"Origin": {"http://a", "http://b"}, "Connection": {"origin"}}, "", true},
		{http.Header{"Origin": {""}}, "", false},
	} {
		a := &ask{in: &http.Request{Header: c.header}, sent: endToEnd(c.header)}
		if ok := a.showsOrigin(); ok != c.ok || a.origin != c.origin {
			t.Errorf("%v: origin %q known %v, want %q %v", c.header, a.origin, ok, c.origin, c.ok)
		}
	}
}

func TestKeyedBodyGoesOutAsWhatItWasKeyedAs(t *testing.T) {
	for _, c := range []struct {
		method string
		header http.Header
		want   string
	}{
		{"POST", http.Header{"Content-Type": {"application/json ; charset=\"utf-8\""}, "Content-Encoding": {"identity"}}, "application/json"},
		{"POST", http.Header{}, "application/json"},
		{"GET", http.Header{"Content-Type": {"application/json; charset=utf-7"}}, ""},
	} {
		h := c.header.Clone()
		(&ask{in: httptest.NewRequest(c.method, "/", nil)}).writeBodyFields(h)
		if got := h.Get("Content-Type"); got != c.want || len(h["Content-Encoding"]) > 0 {
			t.Errorf("%s with %v goes out with %v, want Content-Type %q and no coding", c.method, c.header, h, c.want)
		}
	}
}
