package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"warmfront/test/harness"
)

// ok stops the test when what it needs did not work.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect compares the answer's status and header fields: "Name: value" is exactly that value,
// "Name:" is absent, "Name: *" is present.
func expect(t *testing.T, a *harness.Answer, status int, fields ...string) {
	t.Helper()
	var wrong []string
	if a.Status != status {
		wrong = append(wrong, fmt.Sprintf("status %d, expected %d", a.Status, status))
	}
	for _, line := range fields {
		name, want, _ := strings.Cut(line, ":")
		want = strings.TrimSpace(want)
		got := a.Header.Values(name)
		switch {
		case want == "" && len(got) == 0, want == "*" && len(got) > 0, len(got) == 1 && got[0] == want:
		case want == "":
			wrong = append(wrong, fmt.Sprintf("%s is %q, expected none", name, got))
		default:
			wrong = append(wrong, fmt.Sprintf("%s is %q, expected %q", name, got, want))
		}
	}
	if a.Broken != nil {
		wrong = append(wrong, fmt.Sprintf("the body broke off: %v", a.Broken))
	}
	if wrong != nil {
		t.Fatalf("%s\n%s", strings.Join(wrong, "\n"), a)
	}
}

// expectStatus compares what Cache-Status says with the pieces that must be in it.
func expectCacheStatus(t *testing.T, a *harness.Answer, pieces ...string) {
	t.Helper()
	got := a.Header.Get("Cache-Status")
	for _, piece := range append([]string{"warmfront;"}, pieces...) {
		if !strings.Contains(got, piece) {
			t.Fatalf("Cache-Status is %q, expected %q in it\n%s", got, piece, a)
		}
	}
}

// body is the decoded body.
func body(t *testing.T, a *harness.Answer) []byte {
	t.Helper()
	b, err := a.Body()
	if err != nil {
		t.Fatalf("%v\n%s", err, a)
	}
	return b
}

// sameBody compares decoded bodies byte by byte.
func sameBody(t *testing.T, got, want *harness.Answer) {
	t.Helper()
	expectBody(t, got, body(t, want))
}

func expectBody(t *testing.T, got *harness.Answer, want []byte) {
	t.Helper()
	b := body(t, got)
	if bytes.Equal(b, want) {
		return
	}
	at := 0
	for at < min(len(b), len(want)) && b[at] == want[at] {
		at++
	}
	from := max(0, at-40)
	t.Fatalf("the body differs from byte %d on: …%q, expected …%q (%d bytes, expected %d)\n%s",
		at, b[from:min(len(b), at+80)], want[from:min(len(want), at+80)], len(b), len(want), got)
}

// reached compares how many requests to a route reached the server, "POST /api/backtest" say.
func reached(t *testing.T, up *harness.Upstream, route string, want int) {
	t.Helper()
	c, err := up.Counts()
	ok(t, err)
	if got := c.Routes[route]; got != want {
		t.Fatalf("%d requests to %s reached the server, expected %d; all of them: %v", got, route, want, c.Routes)
	}
}

// until waits for a condition that must come true soon.
func until(t *testing.T, condition func() error) {
	t.Helper()
	ok(t, harness.Until(time.Minute, condition))
}

// override makes the server answer as o says.
func override(t *testing.T, up *harness.Upstream, o harness.Override) {
	t.Helper()
	if o.Times == 0 {
		o.Times = 1
	}
	ok(t, up.Override(o))
}

// parsed decodes a JSON body.
func parsed[T any](t *testing.T, a *harness.Answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(body(t, a), &v); err != nil {
		t.Fatalf("%v\n%s", err, a)
	}
	return v
}

// Routes as the server counts them, and what a test usually asks of each.
const (
	runRoute       = "POST /api/bots/:id/run-backtest"
	backtestRoute  = "POST /api/backtest"
	botSanityRoute = "POST /api/bots/:id/sanity-report"
	runPath        = "/api/bots/bot-7/run-backtest"
)

// canned is a body that counts as a successful backtest, and is small. Its last date lies after all
// data.
func canned(marker string) string {
	return `{"success":true,"cached":false,"metrics":{"cagr":0.1,"marker":"` + marker + `"},` +
		`"equityCurve":[{"date":"2099-12-31","equity":1.5}],"benchmarkCurve":[],"allocations":[]}`
}
