package keying

import (
	"errors"
	"strings"
	"testing"
)

const day = "2026-01-14"

var now = Data{Date: day, Generation: "7", Today: "2026-01-15"}

func route(t testing.TB, name string) *Route {
	t.Helper()
	for _, r := range Routes() {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no route %q", name)
	return nil
}

// ask parses a request given as "<route> <body or query>".
func ask(t testing.TB, name, param, query, body string) *Request {
	t.Helper()
	q, err := route(t, name).Parse(param, query, []byte(body), ByOrder)
	if err != nil {
		t.Fatalf("%s %q %q %s: %v", name, param, query, clip(body), err)
	}
	return q
}

func keyOf(t testing.TB, q *Request) string {
	t.Helper()
	key, err := q.Key(revisions(q), now)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func revisions(q *Request) []Revision {
	revs := make([]Revision, len(q.Bots))
	for i := range revs {
		revs[i] = Revision{Strategy: "s", Exact: "x", Settings: "t", Metrics: "m"}
	}
	return revs
}

func post(t testing.TB, name, body string) string {
	t.Helper()
	param := ""
	if route(t, name).param == botParam {
		param = "b1"
	}
	return keyOf(t, ask(t, name, param, "", body))
}

func reason(err error) string {
	var not *NotKeyed
	if errors.As(err, &not) && errors.Is(err, ErrNotKeyed) {
		return not.Reason
	}
	return ""
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

func quoted(s string) string { return string(quote(nil, s)) }

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1)
}
