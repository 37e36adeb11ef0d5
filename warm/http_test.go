package warm

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func serve(t *testing.T, l *Loop, method string) (status int, fields map[string]json.RawMessage, p Progress) {
	t.Helper()
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequest(method, "/_warmfront/warm", nil))
	ok(t, json.Unmarshal(w.Body.Bytes(), &fields))
	ok(t, json.Unmarshal(w.Body.Bytes(), &p))
	return w.Code, fields, p
}

func TestProgressHasTheFieldsThatAreFixed(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(100)
		l := newLoop(w, p)
		for range 2 {
			status, fields, _ := serve(t, l, "GET")
			for _, name := range []string{"running", "stage", "done", "total", "skipped", "failed", "startedAt", "etaSeconds", "lastRun"} {
				if _, ok := fields[name]; !ok || status != 200 {
					t.Errorf("status %d, no %s in %v", status, name, fields)
				}
			}
		}
		if _, _, got := serve(t, l, "GET"); got.Running || got.Stage != nil || got.LastRun != nil || got.ETASeconds != nil {
			t.Fatalf("before any run: %+v", got)
		}
		running(t, l)
		after(5 * time.Second)
		_, _, got := serve(t, l, "GET")
		if !got.Running || *got.Stage != stageBacktests || got.Done < 40 || got.Total != 101 || *got.ETASeconds < 4 || *got.ETASeconds > 6 {
			t.Fatalf("midway: %+v, eta %v", got, *got.ETASeconds)
		}
		after(time.Minute)
		if _, _, got := serve(t, l, "GET"); got.Running || got.LastRun == nil || got.LastRun.Warmed != 101 || got.LastRun.Rate < 9 {
			t.Fatalf("after the run: %+v", got)
		}
	})
}

func TestStartAndStopByHand(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		w.lists(100)
		l := newLoop(w, p)
		running(t, l)
		after(time.Minute)
		w.moved("2026-01-15", "g2")
		w.set(func(w *fakeWorld) { w.state.Provisional = true })
		if status, _, got := serve(t, l, "POST"); status != http.StatusAccepted || !got.Running {
			t.Fatalf("POST: %d %+v", status, got)
		}
		after(time.Second)
		if status, _, got := serve(t, l, "POST"); status != http.StatusAccepted || !got.Running || got.Reason != "by hand" {
			t.Fatalf("POST while one runs: %d %+v, expected 202 and the run under way", status, got)
		}
		w.set(func(w *fakeWorld) { w.state.Provisional = false })
		after(time.Second)
		if status, _, got := serve(t, l, "DELETE"); status != http.StatusAccepted || !got.Running {
			t.Fatalf("DELETE: %d %+v", status, got)
		}
		after(10 * time.Second)
		if _, _, got := serve(t, l, "GET"); got.Running || got.LastRun.End != endStopped {
			t.Fatalf("after DELETE: %+v", got)
		}
		if status, _, got := serve(t, l, "DELETE"); status != http.StatusAccepted || got.Running {
			t.Fatalf("DELETE without a run: %d %+v", status, got)
		}
	})
}

func TestALoopThatIsOffSaysSo(t *testing.T) {
	l := newLoop(newWorld(), nil, func(o *Options) { o.Enabled = false })
	if status, _, _ := serve(t, l, "POST"); status != http.StatusConflict {
		t.Fatalf("POST: %d, expected 409", status)
	}
	if status, _, got := serve(t, l, "GET"); status != 200 || got.Running {
		t.Fatalf("GET: %d %+v", status, got)
	}
	if status, _, _ := serve(t, l, "PUT"); status != http.StatusMethodNotAllowed {
		t.Fatalf("PUT: %d", status)
	}
}

func TestAStartIsRefusedWhenRedisCannotTellTheOthers(t *testing.T) {
	r, client := realRedis(t)
	r.Kill()
	l := newLoop(newWorld(), nil, func(o *Options) { o.Redis = client })
	if status, _, _ := serve(t, l, "POST"); status != http.StatusServiceUnavailable {
		t.Fatalf("POST: %d, expected 503", status)
	}
	if status, _, _ := serve(t, l, "GET"); status != 200 {
		t.Fatalf("GET: %d, expected what is known", status)
	}
}

func TestAllStagesAreShownInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld().lists(2)
		p := newProxy(w)
		p.takes = 3 * time.Second
		l := newLoop(w, p)
		known(t, l, note(t, "GET", "/api/candles/SPY", "", 0), note(t, "POST", "/api/indicator-series", `{"conditions":[]}`, 0),
			note(t, "POST", "/api/bots/bot-1/sanity-report", `{}`, 0))
		running(t, l)
		var seen []string
		for range 60 {
			after(500 * time.Millisecond)
			if s := l.Summary(); s.Stage != "" && !slices.Contains(seen, s.Stage) {
				seen = append(seen, s.Stage)
			}
		}
		if !slices.Equal(seen, stages) {
			t.Fatalf("seen %q, expected %q", seen, stages)
		}
	})
}
