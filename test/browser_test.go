package test

import (
	"os/exec"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// browser runs the stand-in's client, which sends what the browser does, and gives what it printed:
// the status and the cache's header fields.
func browser(t *testing.T, url string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(limit(t), "node", append([]string{"upstream/client.mjs", url}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("client.mjs %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if !strings.HasPrefix(string(out), "200\n") {
		t.Fatalf("client.mjs %s: expected 200, got\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

func TestSecondClickInTheBrowserIsAHit(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for _, what := range []string{"backtest", "run"} {
		for _, want := range []string{"x-cache: MISS\n", "x-cache: HIT\n", "x-cache: HIT\n"} {
			if out := browser(t, w.URL, what, "bot-7"); !strings.Contains(out, want) {
				t.Fatalf("%s: expected %q, got\n%s", what, want, out)
			}
		}
	}
	reached(t, up, runRoute, 1)
	reached(t, up, backtestRoute, 1)
}

func TestTaggingInTheBrowserAfterEachRunKeepsTheBacktest(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1h"})
	for _, bot := range []string{"bot-7", "bot-1"} { // a private one, and one whose payload is shown to its owner only
		for _, want := range []string{"x-cache: MISS\n", "x-cache: HIT\n"} {
			if out := browser(t, w.URL, "run", bot); !strings.Contains(out, want) {
				t.Errorf("%s: expected %q, got\n%s", bot, want, out)
			}
			browser(t, w.URL, "tag", bot)
		}
	}
}
