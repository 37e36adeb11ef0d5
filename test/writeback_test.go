package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"warmfront/test/harness"
)

const (
	metricsRoute = "PUT /api/bots/:id/metrics"
	metricsPath  = "/api/bots/bot-7/metrics"
	closeVariant = `{"mode":"CC"}`
	openVariant  = `{"mode":"OO"}`
)

// metricsOf are those that a backtest shows and the server keeps, under the names of its row.
func metricsOf(t *testing.T, a *harness.Answer) map[string]any {
	t.Helper()
	shown := parsed[struct{ Metrics map[string]any }](t, a).Metrics
	if len(shown) == 0 {
		t.Fatalf("expected metrics\n%s", a)
	}
	m, upper := map[string]any{}, regexp.MustCompile("[A-Z]")
	for name, value := range shown {
		if !slices.Contains([]string{"beta", "bestDay", "worstDay"}, name) {
			m[upper.ReplaceAllStringFunc(name, func(letter string) string { return "_" + strings.ToLower(letter) })] = value
		}
	}
	return m
}

// saved are the metrics that the server has of a bot: the row, less what is empty in it.
func saved(t *testing.T, up *harness.Upstream, bot string) map[string]any {
	t.Helper()
	m := parsed[struct{ Metrics map[string]any }](t, get(t, up.URL+"/api/bots/"+bot+"/metrics")).Metrics
	maps.DeleteFunc(m, func(name string, value any) bool {
		return value == nil || name == "last_backtest_at" || name == "updated_at"
	})
	return m
}

// becomes waits until the server has the metrics of an answer.
func becomes(t *testing.T, up *harness.Upstream, bot string, a *harness.Answer) {
	t.Helper()
	want := metricsOf(t, a)
	until(t, func() error {
		if got := saved(t, up, bot); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("the server has %v, expected %v", got, want)
		}
		return nil
	})
}

// behind waits until what w had to write back before is done: another bot's turn comes after it.
func behind(t *testing.T, up *harness.Upstream, w *harness.Server) {
	t.Helper()
	const path = "/api/bots/bot-9/run-backtest"
	first := post(t, w.URL+path, closeVariant)
	second := post(t, w.URL+path, openVariant)
	for _, a := range []*harness.Answer{first, second} {
		expect(t, a, 200)
	}
	expect(t, post(t, w.URL+path, closeVariant), 200, "X-Cache: HIT")
	becomes(t, up, "bot-9", first)
}

// puts compares how many write-backs of bot-7 reached the server.
func puts(t *testing.T, up *harness.Upstream, want int) {
	t.Helper()
	all, err := up.Requests("PUT", metricsPath)
	ok(t, err)
	if len(all) != want {
		t.Fatalf("%d write-backs reached the server, expected %d", len(all), want)
	}
}

// variants fills both variants of bot-7, the open one last.
func variants(t *testing.T, up *harness.Upstream, w *harness.Server) (closed, open *harness.Answer) {
	t.Helper()
	closed, open = post(t, w.URL+runPath, closeVariant), post(t, w.URL+runPath, openVariant)
	expect(t, closed, 200, "X-Cache: MISS")
	expect(t, open, 200, "X-Cache: MISS")
	if reflect.DeepEqual(metricsOf(t, closed), metricsOf(t, open)) {
		t.Fatal("both variants have the same metrics")
	}
	becomes(t, up, "bot-7", open)
	return closed, open
}

func hits(t *testing.T, w *harness.Server, variant string) {
	t.Helper()
	expect(t, post(t, w.URL+runPath, variant), 200, "X-Cache: HIT")
}

func TestWritebackLeavesTheMetricsOfTheAnswerGivenLast(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	closed, open := variants(t, up, w)
	hits(t, w, openVariant)
	hits(t, w, closeVariant)
	becomes(t, up, "bot-7", closed)
	puts(t, up, 1)
	for range 3 {
		hits(t, w, closeVariant)
	}
	behind(t, up, w)
	puts(t, up, 1)
	hits(t, w, openVariant)
	becomes(t, up, "bot-7", open)
	puts(t, up, 2)
	reached(t, up, runRoute, 4) // two of them behind's
}

func TestWritebackAfterARestartLooksAtWhatTheServerHas(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	w := warmfront(t, up.URL, env)
	closed, _ := variants(t, up, w)
	w.Stop()
	w = warmfront(t, up.URL, env)
	hits(t, w, openVariant)
	behind(t, up, w)
	puts(t, up, 0)
	hits(t, w, closeVariant)
	becomes(t, up, "bot-7", closed)
	puts(t, up, 1)
}

func TestWritebackIsDoneBeforeTheEnd(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	closed, _ := variants(t, up, w)
	override(t, up, harness.Override{Method: "PUT", Path: metricsPath, DelayMS: 300})
	hits(t, w, closeVariant)
	w.Stop()
	becomes(t, up, "bot-7", closed)
}

func TestWritebackThatTheServerRefusesIsDropped(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	variants(t, up, w)
	override(t, up, harness.Override{Method: "PUT", Path: metricsPath, Status: 400, Body: "<html>Bad Request</html>", Times: 9})
	for range 3 {
		hits(t, w, closeVariant)
		until(t, func() error {
			if n := counted(t, w, "warmfront_writeback_dropped_total"); n != 1 {
				return fmt.Errorf("%d were dropped, expected 1", n)
			}
			return nil
		})
	}
	behind(t, up, w)
	puts(t, up, 1)
}

func TestWritebackIsTriedAgainWhenTheServerIsDownForAMoment(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	closed, _ := variants(t, up, w)
	override(t, up, harness.Override{Method: "PUT", Path: metricsPath, Status: 503, Body: "{}", Times: 2})
	hits(t, w, closeVariant)
	becomes(t, up, "bot-7", closed)
	puts(t, up, 3)
	if n := counted(t, w, "warmfront_writeback_dropped_total"); n != 0 {
		t.Errorf("%d were dropped", n)
	}
}

func TestWritebackOfTheLastOfTwoHitsWins(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	closed, open := variants(t, up, w)
	third := post(t, w.URL+runPath, `{"mode":"OC"}`)
	expect(t, third, 200, "X-Cache: MISS")
	becomes(t, up, "bot-7", third)
	override(t, up, harness.Override{Method: "PUT", Path: metricsPath, DelayMS: 400})
	hits(t, w, closeVariant)
	hits(t, w, openVariant)
	becomes(t, up, "bot-7", open)
	behind(t, up, w)
	becomes(t, up, "bot-7", open)
	hits(t, w, openVariant)
	hits(t, w, closeVariant)
	behind(t, up, w)
	becomes(t, up, "bot-7", closed)
}

func TestARunOrAMetricsWriteThatPassesIsTheLastWord(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	closed, open := variants(t, up, w)
	hits(t, w, closeVariant)
	becomes(t, up, "bot-7", closed)

	expect(t, post(t, w.URL+runPath, openVariant, "X-Cache-Bypass: 1"), 200, "X-Cache: BYPASS")
	becomes(t, up, "bot-7", open)
	hits(t, w, closeVariant) // not what was saved last any more
	becomes(t, up, "bot-7", closed)

	expect(t, send(t, "PUT", w.URL+metricsPath, []byte(`{"cagr":7}`)), 200)
	behind(t, up, w)
	if got := saved(t, up, "bot-7"); got["cagr"] != 7.0 {
		t.Fatalf("the server has %v, expected what was written last", got)
	}
	hits(t, w, closeVariant)
	becomes(t, up, "bot-7", closed)
}

func TestMetricsWritebackCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"METRICS_WRITEBACK": "false"})
	_, open := variants(t, up, w)
	for range 3 {
		hits(t, w, closeVariant)
	}
	on := warmfront(t, up.URL, nil)
	behind(t, up, on)
	becomes(t, up, "bot-7", open)
	reached(t, up, metricsRoute, 1) // behind's
}

func TestNullsAreLeftOutOfTheWriteback(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Status: 200, Headers: asJSON,
		Body: strings.Replace(canned("nulls"), `"cagr":0.1`, `"cagr":0.25,"sortinoRatio":null`, 1)})
	a := post(t, w.URL+runPath, closeVariant)
	expect(t, a, 200, "X-Cache: MISS")
	expect(t, post(t, w.URL+runPath, openVariant), 200, "X-Cache: MISS")
	hits(t, w, closeVariant)
	until(t, func() error {
		got, err := json.Marshal(saved(t, up, "bot-7"))
		ok(t, err)
		if string(got) != `{"cagr":0.25}` {
			return fmt.Errorf("the server has %s", got)
		}
		return nil
	})
	if n := counted(t, w, "warmfront_writeback_dropped_total"); n != 0 {
		t.Errorf("%d were dropped", n)
	}
}

func TestAuditsAndWritebackGetAlong(t *testing.T) {
	t.Parallel()
	up := ownUpstream(t, nil) // a run that an earlier test left behind at the shared one would save its metrics here
	w := warmfront(t, up.URL, harness.Env{"AUDIT_RATE": "1"})
	closed, open := variants(t, up, w)
	for range 5 {
		hits(t, w, openVariant)
		hits(t, w, closeVariant)
	}
	becomes(t, up, "bot-7", closed)
	behind(t, up, w)
	hits(t, w, closeVariant)
	hits(t, w, openVariant)
	becomes(t, up, "bot-7", open)
	mismatched(t, w, 0)
}
