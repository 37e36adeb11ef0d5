package test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"warmfront/test/harness"
)

func TestSIGTERMFinishesTheBacktestUnderWay(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	seen := observe(t, up, runPath)
	w := warmfront(t, seen.url, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, DelayMS: 1000, Status: 200, Headers: asJSON, Body: canned("drained")})
	under := call(t, w.URL+runPath, `{}`)
	within(t, "the backtest reaches the server", seen.began)
	ok(t, w.Signal(syscall.SIGTERM))
	a := <-under.answer
	if a == nil {
		t.Fatal("the backtest under way got no answer")
	}
	expect(t, a, 200)
	expectBody(t, a, []byte(canned("drained")))
	exits(t, w, 0)
}

func TestDrainEndsStreamsInTheEnd(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"DRAIN": "500ms"})
	req, err := http.NewRequestWithContext(limit(t), http.MethodGet, w.URL+"/events?n=100000&ms=50", nil)
	ok(t, err)
	res, err := client(t).Do(req)
	ok(t, err)
	defer res.Body.Close()
	ok(t, w.Signal(syscall.SIGTERM))
	exits(t, w, 0)
}

func TestIdleWarmfrontExitsAtOnce(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		w := warmfront(t, up.URL, nil)
		started := time.Now()
		ok(t, w.Signal(sig))
		exits(t, w, 0)
		if took := time.Since(started); took > 20*time.Second {
			t.Errorf("%v: took %v with nothing under way", sig, took)
		}
	}
}

func exits(t *testing.T, p interface {
	ExitCode(time.Duration) (int, error)
	Tail(int) string
}, want int) {
	t.Helper()
	code, err := p.ExitCode(time.Minute)
	ok(t, err)
	if code != want {
		t.Fatalf("exit code %d, expected %d\n%s", code, want, p.Tail(20))
	}
}

func TestBadConfigurationIsOneLineThatNamesTheVariable(t *testing.T) {
	t.Parallel()
	good := harness.Env{"UPSTREAM_URL": "http://127.0.0.1:1", "PORT": "0"}
	for _, c := range []struct{ variable, value string }{
		{"UPSTREAM_URL", ""}, {"UPSTREAM_URL", "ftp://server"}, {"UPSTREAM_URL", "server:8787"}, {"UPSTREAM_URL", "http://%zz"},
		{"PORT", "http"}, {"PORT", "70000"}, {"PORT", "-1"},
		{"REDIS_URL", "http://redis"}, {"REDIS_URL", "redis://%zz"},
		{"MEMORY_LIMIT", "lots"}, {"MEMORY_LIMIT", "0"}, {"MEMORY_LIMIT", "-5MiB"}, {"MAX_ENTRY", "x"}, {"MAX_ENTRY", "10GiB"}, {"MAX_REQUEST", "1parsec"},
		{"CACHE_TTL", "0s"}, {"CACHE_TTL", "-1s"}, {"CACHE_TTL", "1day"}, {"STALE_TTL", "-1s"}, {"DATA_DATE_INTERVAL", "0s"},
		{"DATA_DATE_TICKERS", "SPY,$$"}, {"SYNC_SETTLE", "soon"}, {"PROVISIONAL_TTL", "30"}, {"REVISION_INTERVAL", "-5s"},
		{"WARM", "maybe"}, {"WARM_CONCURRENCY", "0"}, {"WARM_JOURNAL", "-1"}, {"AUDIT_RATE", "2"}, {"AUDIT_RATE", "often"},
		{"UPSTREAM_EMAIL", "admin@example.com"}, {"UPSTREAM_PASSWORD", "secret-of-mine"},
		{"CORRELATIONS_DATABASE_URL", "mysql://x"}, {"ACCESS", "friends"}, {"METRICS_WRITEBACK", "perhaps"},
		{"BYPASS_HEADER", "not a header"}, {"UPSTREAM_TIMEOUT", "0s"}, {"DRAIN", "-1s"},
		{"LOG_LEVEL", "loud"}, {"LOG_FORMAT", "xml"},
	} {
		t.Run(fmt.Sprintf("%s=%s", c.variable, c.value), func(t *testing.T) {
			env := harness.Env{}
			for name, value := range good {
				env[name] = value
			}
			env[c.variable] = c.value
			p, err := lab.RunWarmfront(env)
			ok(t, err)
			t.Cleanup(p.Stop)
			exits(t, p, 2)
			line := strings.TrimSuffix(p.Stderr(), "\n")
			if line == "" || strings.Contains(line, "\n") || !strings.Contains(line, c.variable) {
				t.Fatalf("standard error is %q, expected one line that names %s", p.Stderr(), c.variable)
			}
			if strings.Contains(line, "secret-of-mine") {
				t.Fatalf("the line tells a secret: %s", line)
			}
		})
	}
}

func TestHelpPrintsEveryVariable(t *testing.T) {
	t.Parallel()
	p, err := lab.RunWarmfront(nil, "--help")
	ok(t, err)
	t.Cleanup(p.Stop)
	exits(t, p, 0)
	for _, variable := range []string{"UPSTREAM_URL", "PORT", "REDIS_URL", "MEMORY_LIMIT", "CACHE_TTL", "BYPASS_TOKEN", "EPOCH", "24h", "256MiB"} {
		if !strings.Contains(p.Output(), variable) {
			t.Errorf("--help does not mention %s:\n%s", variable, p.Output())
		}
	}
}

func TestUnknownArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	p, err := lab.RunWarmfront(harness.Env{"UPSTREAM_URL": "http://127.0.0.1:1"}, "--port=1")
	ok(t, err)
	t.Cleanup(p.Stop)
	exits(t, p, 2)
}
