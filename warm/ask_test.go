package warm

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersAreJudgedByWhatTheySayOfTheirWay(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header map[string]string
		want   answer
	}{
		"hit":             {200, map[string]string{"X-Cache": "HIT", "Cache-Status": "warmfront; hit; ttl=1; detail=redis"}, answer{outcome: skipped, verdict: untouched}},
		"provisional hit": {200, map[string]string{"X-Cache": "HIT", "Cache-Status": "warmfront; hit; ttl=1; detail=provisional-settling"}, answer{outcome: provisional, verdict: untouched, reason: "provisional-settling"}},
		"miss":            {200, map[string]string{"X-Cache": "MISS", "Cache-Status": "warmfront; fwd=miss; stored; ttl=1; detail=upstream"}, answer{outcome: warmed}},
		"collapsed":       {200, map[string]string{"X-Cache": "MISS", "Cache-Status": "warmfront; fwd=miss; stored; collapsed; ttl=1; detail=upstream"}, answer{outcome: warmed}},
		"behind":          {200, map[string]string{"X-Cache": "MISS", "Cache-Status": "warmfront; fwd=miss; stored; ttl=600; detail=provisional-behind-data"}, answer{outcome: provisional, reason: "provisional-behind-data"}},
		"stale":           {200, map[string]string{"X-Cache": "STALE", "Cache-Status": "warmfront; hit; ttl=0; detail=upstream-down"}, answer{verdict: troubled, reason: "upstream-down"}},
		"edited":          {200, map[string]string{"X-Cache": "PASS", "Cache-Status": "warmfront; fwd=miss; fwd-status=200; detail=revision-changed"}, answer{reason: "revision-changed"}},
		"moved":           {200, map[string]string{"X-Cache": "PASS", "Cache-Status": "warmfront; fwd=miss; fwd-status=200; detail=data-changed"}, answer{reason: "data-changed"}},
		"older rows":      {200, map[string]string{"X-Cache": "PASS", "Cache-Status": "warmfront; fwd=miss; fwd-status=200; detail=rows-older"}, answer{outcome: failed, reason: "rows-older"}},
		"not ours":        {401, map[string]string{"X-Cache": "PASS"}, answer{outcome: failed, reason: "status-401"}},
		"too large":       {200, map[string]string{"X-Cache": "PASS", "Cache-Status": "warmfront; fwd=miss; fwd-status=200; detail=too-large"}, answer{outcome: failed, reason: "too-large"}},
		"no header":       {200, nil, answer{outcome: failed, reason: "not-stored"}},
		"no such bot":     {404, map[string]string{"X-Cache": "PASS", "Content-Type": "application/json; charset=utf-8"}, answer{outcome: gone, reason: "status-404"}},
		"no such page":    {404, map[string]string{"Content-Type": "text/html"}, answer{outcome: failed, reason: "status-404"}},
		"bad request":     {400, nil, answer{outcome: failed, reason: "status-400"}},
		"failure":         {500, nil, answer{verdict: troubled, reason: "status-500"}},
		"down":            {502, nil, answer{verdict: troubled, reason: "status-502"}},
		"later":           {429, map[string]string{"Retry-After": "7"}, answer{verdict: troubled, reason: "status-429", after: 7*time.Second + time.Millisecond}},
		"later, no time":  {429, nil, answer{verdict: troubled, reason: "status-429", after: firstPause}},
		"busy":            {503, map[string]string{"Retry-After": "x"}, answer{verdict: troubled, reason: "status-503", after: firstPause}},
		"for ever":        {429, map[string]string{"Retry-After": "99999999"}, answer{verdict: troubled, reason: "status-429", after: maxRetryAfter + time.Millisecond}},
	} {
		h := http.Header{}
		for n, v := range c.header {
			h.Set(n, v)
		}
		if got := judge(c.status, h); got != c.want {
			t.Errorf("%s: judged %+v, expected %+v", name, got, c.want)
		}
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := http.Header{"Retry-After": {time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)}}
		if got := retryAfter(h); got != 90*time.Second {
			t.Fatalf("%v, expected 90s", got)
		}
	})
}

// asking is what comes of one request in a bubble of time, with answers in the server's place.
func asking(t *testing.T, answers func(call, http.Header) (int, bool)) (how outcome, why string, p *fakeProxy, took time.Duration) {
	w := newWorld()
	p = newProxy(w)
	p.answers = answers
	l := newLoop(w, p)
	pass := l.newPass("1", &runInfo{}, newTally(), nil)
	b := bot{id: "a", mode: "CC", costBps: []byte("5")}
	r, err := b.stored()
	ok(t, err)
	began := time.Now()
	how, why, err = pass.ask(t.Context(), r)
	ok(t, err)
	return how, why, p, time.Since(began)
}

func TestAFailureIsTriedAgainAndThenLetBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		how, why, p, _ := asking(t, func(call, http.Header) (int, bool) { return 500, true })
		if how != failed || why != "status-500" || p.started() != tries {
			t.Fatalf("%s (%s) after %d tries, expected failed after %d", how, why, p.started(), tries)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		how, _, p, _ := asking(t, func(c call, _ http.Header) (int, bool) { return 500, c.n < 2 })
		if how != warmed || p.started() != 3 {
			t.Fatalf("%s after %d tries, expected warmed after 3", how, p.started())
		}
	})
}

func TestAServerThatSaysLaterIsAskedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		how, _, p, took := asking(t, func(c call, h http.Header) (int, bool) {
			h.Set("Retry-After", "30")
			return 429, c.n < 6
		})
		if how != warmed || p.started() != 7 || took < 180*time.Second || took > 200*time.Second {
			t.Fatalf("%s after %d tries and %v, expected warmed after 7 and three minutes", how, p.started(), took)
		}
	})
}

func TestAnAnswerThatIsNeverToBeStoredIsNotAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		how, why, p, _ := asking(t, func(_ call, h http.Header) (int, bool) {
			h.Set("Cache-Status", "warmfront; fwd=miss; fwd-status=200; detail=no-success")
			return 200, true
		})
		if how != failed || why != "no-success" || p.started() != 1 {
			t.Fatalf("%s (%s) after %d tries", how, why, p.started())
		}
	})
}
