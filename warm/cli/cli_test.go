package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"warmfront/warm"
)

const token = "sesame"

// fakeWarmfront answers as a Warmfront does, a step of its run at each GET.
type fakeWarmfront struct {
	mu      sync.Mutex
	steps   []warm.Progress // while it runs
	last    *warm.Report    // after that
	started bool
	stopped bool
	asked   []string
	on      func(step int)
}

func (f *fakeWarmfront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path != "/_warmfront/warm" || r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":"no"}`))
		return
	}
	f.asked = append(f.asked, r.Method)
	switch r.Method {
	case http.MethodPost:
		f.started = true
	case http.MethodDelete:
		f.stopped = true
		f.last.End = "stopped"
		f.steps = nil
	}
	var p warm.Progress
	switch {
	case !f.started:
	case len(f.steps) > 0:
		p = f.steps[0]
		f.steps = f.steps[1:]
		if f.on != nil {
			f.on(len(f.steps))
		}
	default:
		p.LastRun = f.last
	}
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusAccepted)
	}
	_ = json.NewEncoder(w).Encode(p)
}

func step(stage string, done, total int) warm.Progress {
	eta := 3.0
	return warm.Progress{Running: true, Stage: &stage, Done: done, Total: total, ETASeconds: &eta}
}

func report(total, failed int) *warm.Report {
	return &warm.Report{End: "finished", FinishedAt: time.Now(), Seconds: 4, Done: total, Total: total, Warmed: total - failed, Failed: failed,
		Failures: map[string]int{"status-500": failed}}
}

// run is the command against f.
func run(t *testing.T, ctx context.Context, f http.Handler, environ map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	s := httptest.NewServer(f)
	defer s.Close()
	env := map[string]string{"WARMFRONT_URL": s.URL, "ADMIN_TOKEN": token}
	for name, value := range environ {
		env[name] = value
	}
	var out, err bytes.Buffer
	code = Run(ctx, args, env, &out, &err)
	return code, out.String(), err.String()
}

func TestWithoutWaitingItStartsARunAndIsDone(t *testing.T) {
	f := &fakeWarmfront{steps: []warm.Progress{step("starting", 0, 0)}}
	code, out, errs := run(t, t.Context(), f, nil)
	if code != 0 || !strings.Contains(out, "started") || errs != "" || !f.started {
		t.Fatalf("%d, %q, %q", code, out, errs)
	}
}

func TestWaitShowsPlainLinesOffATerminal(t *testing.T) {
	before := goleak.IgnoreCurrent()
	f := &fakeWarmfront{last: report(10, 1), steps: []warm.Progress{
		step("starting", 0, 0), step("candles", 0, 10), step("candles", 0, 10), step("backtests", 5, 10),
	}}
	code, out, errs := run(t, t.Context(), f, nil, "--wait")
	goleak.VerifyNone(t, before)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || errs != "" || len(lines) != 5 || !strings.HasPrefix(lines[1], "candles    0/10 done") ||
		!strings.Contains(lines[2], "5/10 done, 0 skipped, 0 failed, 3s left") || !strings.HasPrefix(lines[3], "finished after 4s: 10 of 10 done") ||
		!strings.Contains(lines[4], "status-500: 1") || strings.ContainsAny(out, "\r\x1b") {
		t.Fatalf("%d, %q\n%s", code, errs, out)
	}
}

func TestCtrlCAsksTheRunToStop(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	f := &fakeWarmfront{last: report(10, 0), steps: make([]warm.Progress, 0, 1000)}
	for range cap(f.steps) {
		f.steps = append(f.steps, step("backtests", 1, 10))
	}
	f.on = func(left int) {
		if left == 997 {
			interrupt()
		}
	}
	code, out, errs := run(t, ctx, f, nil, "--wait")
	if code != 1 || !f.stopped || !strings.Contains(out, "asking the run to stop") || !strings.Contains(errs, "stopped") {
		t.Fatalf("%d, stopped %v, %q, %q", code, f.stopped, out, errs)
	}
}

func TestExitCodes(t *testing.T) {
	done := func() *fakeWarmfront { return &fakeWarmfront{last: report(3, 0)} }
	for name, c := range map[string]struct {
		f    http.Handler
		env  map[string]string
		args []string
		code int
		says string // on standard error, or output when code is 0
	}{
		"done":                  {done(), nil, []string{"--wait"}, 0, "3 of 3"},
		"some failed":           {&fakeWarmfront{last: report(3, 2)}, nil, []string{"--wait"}, 0, "status-500: 2"},
		"all failed":            {&fakeWarmfront{last: report(3, 3)}, nil, []string{"--wait"}, 1, "nothing could be warmed"},
		"nothing to do":         {&fakeWarmfront{last: report(0, 0)}, nil, []string{"--wait"}, 0, "0 of 0"},
		"stop":                  {&fakeWarmfront{last: report(3, 0)}, nil, []string{"--stop"}, 0, "no run is under way"},
		"help":                  {done(), nil, []string{"--help"}, 0, "usage:"},
		"unknown flag":          {done(), nil, []string{"--fast"}, 2, "usage:"},
		"too much":              {done(), nil, []string{"now"}, 2, "usage:"},
		"both":                  {done(), nil, []string{"--wait", "--stop"}, 2, "usage:"},
		"no token":              {done(), map[string]string{"ADMIN_TOKEN": ""}, nil, 2, "ADMIN_TOKEN"},
		"wrong token":           {done(), map[string]string{"ADMIN_TOKEN": "x"}, nil, 1, "ADMIN_TOKEN"},
		"no URL":                {done(), map[string]string{"WARMFRONT_URL": "localhost:8080"}, nil, 2, "WARMFRONT_URL"},
		"nobody listens":        {done(), map[string]string{"WARMFRONT_URL": "", "PORT": "1"}, nil, 1, "WARMFRONT_URL"},
		"something else there":  {http.NotFoundHandler(), nil, nil, 1, "404"},
		"something that's HTML": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), nil, nil, 1, "no Warmfront"},
	} {
		code, out, errs := run(t, t.Context(), c.f, c.env, c.args...)
		said := errs
		if c.code == 0 {
			said = out
		}
		if code != c.code || !strings.Contains(said, c.says) || strings.Contains(out+errs, token) {
			t.Errorf("%s: exit %d, expected %d with %q\nout: %s\nerr: %s", name, code, c.code, c.says, out, errs)
		}
	}
}

func TestABarIsDrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	b := &bar{out: &out}
	for done := range 11 {
		p := step("backtests", done, 10)
		b.show(&p)
	}
	b.end(report(10, 0))
	if s := out.String(); !strings.Contains(s, "\r") && !strings.Contains(s, "\x1b[") || !strings.Contains(s, "(10/10)") || !strings.Contains(s, "finished after") {
		t.Fatalf("%q", s)
	}
}
