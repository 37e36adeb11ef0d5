package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"warmfront/test/harness"
)

const adminToken = "let-me-see"

// warmProgress is what the admin endpoint tells.
type warmProgress struct {
	Running bool
	Stage   *string
	Done    int
	Total   int
	LastRun *struct {
		Reason, End, Date                                       string
		Done, Total, Warmed, Skipped, Provisional, Gone, Failed int
		Failures                                                map[string]int
		Busy                                                    float64
	}
}

func progressOf(t *testing.T, w *harness.Server) warmProgress {
	t.Helper()
	a := get(t, w.URL+"/_warmfront/warm", "Authorization: Bearer "+adminToken)
	expect(t, a, 200)
	return parsed[warmProgress](t, a)
}

// warming is an environment in which the loop runs, and data settles soon.
func warming(more harness.Env) harness.Env {
	env := harness.Env{"WARM": "true", "ADMIN_TOKEN": adminToken, "SYNC_SETTLE": "1500ms"}
	for name, value := range more {
		env[name] = value
	}
	return env
}

// freshUpstream is a server that sees new prices as soon as they are there: what the loop does about
// one that doesn't is another test's.
func freshUpstream(t *testing.T) *harness.Upstream {
	t.Helper()
	return ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "100", "TRAPS_OFF": "stale-bars,stale-tables,batch-memory,mid-sync-rows"})
}

// adminOf logs in at the server and gives the Authorization of its admin.
func adminOf(t *testing.T, up *harness.Upstream) string {
	t.Helper()
	a := post(t, up.URL+"/api/auth/login", `{"email":"admin@example.com","password":"admin-password"}`)
	expect(t, a, 200)
	return "Bearer " + parsed[struct{ AccessToken string }](t, a).AccessToken
}

// warmNow has a run start.
func warmNow(t *testing.T, w *harness.Server) {
	t.Helper()
	expect(t, send(t, "POST", w.URL+"/_warmfront/warm", nil, "Authorization: Bearer "+adminToken), 202)
}

// warmedFor waits until a run for the data of now has ended.
func warmedFor(t *testing.T, w *harness.Server, after string) (p warmProgress) {
	t.Helper()
	ok(t, harness.Until(time.Minute, func() error {
		p = progressOf(t, w)
		if p.Running || p.LastRun == nil || p.LastRun.Date <= after {
			return fmt.Errorf("no run for data after %q has ended: %+v", after, p)
		}
		return nil
	}))
	return p
}

// remembered waits until the journal in Redis has n requests.
func remembered(t *testing.T, r *harness.Redis, n int64) {
	t.Helper()
	c := dialRedis(t, r)
	until(t, func() error {
		got, err := c.ZCard(t.Context(), "warmfront:{warm}:journal:scores").Result()
		if err == nil && got < n {
			err = fmt.Errorf("the journal has %d requests, expected %d", got, n)
		}
		return err
	})
}

// stored is the body of a bot's backtest in its own mode and at its own costs.
func stored(t *testing.T, up *harness.Upstream, bot string) string {
	t.Helper()
	a := get(t, up.URL+"/api/bots/"+bot)
	expect(t, a, 200)
	b := parsed[struct {
		Bot struct {
			BacktestMode    string
			BacktestCostBps json.Number
		}
	}](t, a).Bot
	return fmt.Sprintf(`{"mode":%q,"costBps":%s,"benchmarkTicker":"SPY"}`, b.BacktestMode, b.BacktestCostBps)
}

func TestAfterASyncEveryEarlierRequestIsAHitAndSoAreBotsThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	w := warmfront(t, up.URL, warming(harness.Env{"REDIS_URL": r.URL(), "UPSTREAM_AUTHORIZATION": adminOf(t, up)}))
	warmNow(t, w)
	first := warmedFor(t, w, "")
	calls, err := up.Calls(t.Context())
	ok(t, err)
	ask := func(c harness.Call) *harness.Answer {
		a, err := harness.Send(limit(t), client(t), c.Request(w.URL))
		ok(t, err)
		return a
	}
	for _, c := range calls {
		expect(t, ask(c), 200)
	}
	remembered(t, r, int64(len(calls)))

	ok(t, up.Sync("append", 300))
	p := warmedFor(t, w, first.LastRun.Date)
	// Tables that moved together with the candles may be of before them: what comes from them is kept for
	// minutes, two benchmark requests and two reports.
	if p.LastRun.Failed > 0 || p.LastRun.Provisional > 4 {
		t.Fatalf("not all is warm: %+v", *p.LastRun)
	}
	before, err := up.Counts()
	ok(t, err)
	for _, c := range calls {
		expect(t, ask(c), 200, "X-Cache: HIT")
	}
	for n := range 12 {
		bot := fmt.Sprintf("bot-%d", n+1)
		expect(t, post(t, w.URL+"/api/bots/"+bot+"/run-backtest", stored(t, up, bot)), 200, "X-Cache: HIT")
	}
	after, err := up.Counts()
	ok(t, err)
	if after.Backtests != before.Backtests {
		t.Fatalf("users caused %d backtests", after.Backtests-before.Backtests)
	}
}

// The server as it is: after a sync it computes from bars that it loaded before, and finds rows in its
// cache that it computed meanwhile. With an admin's login that is cleared before anything is warmed.
func TestAfterASyncOfAServerThatStaysBehindBacktestsAreWarmAllTheSame(t *testing.T) {
	t.Parallel()
	up, r := ownUpstream(t, harness.Env{"DATA_DATE_MEMORY_MS": "100"}), redisServer(t)
	w := warmfront(t, up.URL, warming(harness.Env{
		"REDIS_URL": r.URL(), "UPSTREAM_EMAIL": "admin@example.com", "UPSTREAM_PASSWORD": "admin-password",
	}))
	warmNow(t, w)
	first := warmedFor(t, w, "")
	ok(t, up.Sync("append", 300))
	warmedFor(t, w, first.LastRun.Date)
	before, err := up.Counts()
	ok(t, err)
	for n := range 12 {
		path, body := fmt.Sprintf("/api/bots/bot-%d/run-backtest", n+1), stored(t, up, fmt.Sprintf("bot-%d", n+1))
		a := post(t, w.URL+path, body)
		expect(t, a, 200, "X-Cache: HIT")
		if strings.Contains(a.Header.Get("Cache-Status"), "provisional") {
			t.Fatalf("it is kept for a short time only\n%s", a)
		}
	}
	after, err := up.Counts()
	ok(t, err)
	if after.Backtests != before.Backtests {
		t.Fatalf("users caused %d backtests", after.Backtests-before.Backtests)
	}
}

func TestTheVariantThatABotIsStoredWithIsTheLastThatTheServerSavesMetricsOf(t *testing.T) {
	t.Parallel()
	up := freshUpstream(t)
	w := warmfront(t, up.URL, warming(nil))
	warmNow(t, w)
	first := warmedFor(t, w, "")
	path := "/api/bots/bot-8/run-backtest"
	for _, mode := range []string{"CC", "OO", "CO"} { // its own is OC
		expect(t, post(t, w.URL+path, `{"mode":"`+mode+`"}`), 200, "X-Cache: MISS")
	}
	ok(t, up.Sync("append", 300))
	warmedFor(t, w, first.LastRun.Date)
	type metrics struct{ Metrics struct{ CAGR float64 } }
	saved := parsed[struct{ Bot metrics }](t, get(t, up.URL+"/api/bots/bot-8")).Bot
	own := post(t, w.URL+path, stored(t, up, "bot-8"))
	expect(t, own, 200, "X-Cache: HIT")
	if got := parsed[metrics](t, own); got != saved || got.Metrics.CAGR == 0 {
		t.Fatalf("the server has saved %+v, expected those of the bot's own mode, %+v", saved, got)
	}
}

// slowly makes every backtest of a saved bot take longer than it needs.
func slowly(t *testing.T, up *harness.Upstream, ms int) {
	t.Helper()
	override(t, up, harness.Override{Method: "POST", Path: "/api/bots/", Times: 10_000, DelayMS: ms})
}

// progressed waits until a run has done n requests.
func progressed(t *testing.T, w *harness.Server, n int) {
	t.Helper()
	until(t, func() error {
		if p := progressOf(t, w); !p.Running || p.Done < n {
			return fmt.Errorf("not yet: %+v", p)
		}
		return nil
	})
}

func TestWhenTheWarmingReplicaIsKilledAnotherFinishesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	slowly(t, up, 200)
	env := warming(harness.Env{"REDIS_URL": r.URL(), "UPSTREAM_AUTHORIZATION": adminOf(t, up), "WARM_CONCURRENCY": "2"})
	seen := &beginnings{}
	url := seen.before(t, up)
	dying, heir := warmfront(t, url, env), warmfront(t, url, env)
	warmNow(t, dying)
	progressed(t, dying, 3)
	if one, two := progressOf(t, dying), progressOf(t, heir); !two.Running || two.Total != one.Total {
		t.Fatalf("the replicas tell different things: %+v and %+v", one, two)
	}
	// Whichever of the two runs it: the first that was asked to.
	dying.Kill()
	p := warmedFor(t, heir, "")
	if p.LastRun.Done != p.LastRun.Total || p.LastRun.Failed > 0 || p.LastRun.Total < 13 {
		t.Fatalf("not all is done: %+v", *p.LastRun)
	}
	twice := 0
	made := seen.asked()
	maps.DeleteFunc(made, func(path string, _ int) bool { return !strings.HasSuffix(path, "/run-backtest") })
	for _, n := range made {
		if n > 1 {
			twice++
		}
	}
	if twice > 2 || len(made) != 12 {
		t.Fatalf("%d backtests of 12 were made twice, expected the two under way at most: %v", twice, made)
	}
}

// beginnings sees computations begin at the server: how often each, and how many of the run's while a
// user's was there.
type beginnings struct {
	mu     sync.Mutex
	users  int
	during int
	times  map[string]int // by path
}

// before stands between a Warmfront and the server.
func (b *beginnings) before(t *testing.T, up *harness.Upstream) (url string) {
	t.Helper()
	through := passTo(t, up)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			defer b.begin(r)()
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

func (b *beginnings) begin(r *http.Request) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.times == nil {
		b.times = map[string]int{}
	}
	b.times[r.URL.Path]++
	if r.UserAgent() != "warmfront-test" {
		if b.users > 0 {
			b.during++
		}
		return func() {}
	}
	b.users++
	return func() { b.mu.Lock(); defer b.mu.Unlock(); b.users-- }
}

func (b *beginnings) asked() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.times)
}

func (b *beginnings) whileUsersWaited() int { b.mu.Lock(); defer b.mu.Unlock(); return b.during }

func TestAUserWaitsForNoMoreThanOneRequestOfTheRun(t *testing.T) {
	t.Parallel()
	up := freshUpstream(t)
	slowly(t, up, 150)
	seen := &beginnings{}
	w := warmfront(t, seen.before(t, up), warming(harness.Env{"UPSTREAM_AUTHORIZATION": adminOf(t, up)}))
	warmNow(t, w)
	progressed(t, w, 2)
	// A user's request that keeps the server for many of the run's.
	override(t, up, harness.Override{Method: "POST", Path: "/api/backtest", DelayMS: 2500})
	tree, err := up.Strategy(limit(t), "bot-8")
	ok(t, err)
	expect(t, post(t, w.URL+"/api/backtest", `{"payload":`+harness.Quote(harness.FreshIDs(tree))+`}`), 200, "X-Cache: MISS")
	displaced := seen.whileUsersWaited()
	if p := progressOf(t, w); !p.Running {
		t.Fatalf("the run was over too soon to tell: %+v", p)
	}
	if displaced > 1 {
		t.Fatalf("%d requests of the run began at the server while a user waited there", displaced)
	}
	if p := warmedFor(t, w, ""); p.LastRun.Done != p.LastRun.Total || p.LastRun.Failed > 0 {
		t.Fatalf("the run did not go on: %+v", *p.LastRun)
	}
}

func TestTheCommandShowsARunUntilItHasEnded(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	slowly(t, up, 50)
	w := warmfront(t, up.URL, warming(nil))
	warmNow(t, w)
	warmedFor(t, w, "")
	env := harness.Env{"WARMFRONT_URL": w.URL, "ADMIN_TOKEN": adminToken}
	p, err := lab.RunWarmfront(env, "warm", "--wait")
	ok(t, err)
	code, err := p.ExitCode(time.Minute)
	ok(t, err)
	// Its own run, of which all is warm already: six bots, the benchmarks, and the harness's own candles.
	if out := p.Output(); code != 0 || !strings.Contains(out, "finished after") || !strings.Contains(out, "8 of 8 done") || !strings.Contains(out, "8 skipped") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for name, c := range map[string]struct {
		env  harness.Env
		args []string
		code int
	}{
		"started":        {env, []string{"warm"}, 0},
		"stop":           {env, []string{"warm", "--stop"}, 0},
		"no token":       {harness.Env{"WARMFRONT_URL": w.URL}, []string{"warm"}, 2},
		"wrong token":    {harness.Env{"WARMFRONT_URL": w.URL, "ADMIN_TOKEN": "x"}, []string{"warm"}, 1},
		"nobody listens": {harness.Env{"PORT": "1", "ADMIN_TOKEN": "x"}, []string{"warm", "--wait"}, 1},
		"unknown flag":   {env, []string{"warm", "--now"}, 2},
	} {
		p, err := lab.RunWarmfront(c.env, c.args...)
		ok(t, err)
		if code, err := p.ExitCode(time.Minute); err != nil || code != c.code {
			t.Errorf("%s: exit %d, expected %d (%v)\n%s", name, code, c.code, err, p.Output())
		}
	}
}

func TestTheWarmEndpointIsTheAdminsOnly(t *testing.T) {
	t.Parallel()
	w := launched(t, "http://127.0.0.1:1", warming(nil))
	for _, header := range [][]string{nil, {"Authorization: Bearer wrong"}, {"Authorization: " + adminToken}} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			expect(t, send(t, method, w.URL+"/_warmfront/warm", nil, header...), 403)
		}
	}
	if p := progressOf(t, w); p.Running {
		t.Fatalf("somebody without the token has started a run: %+v", p)
	}
	ready := parsed[struct{ Warm json.RawMessage }](t, get(t, w.URL+"/_warmfront/readyz"))
	if string(ready.Warm) != `{"running":false}` {
		t.Fatalf("readyz says of the loop: %s", ready.Warm)
	}
}

func TestSigtermLeavesARunToAnotherReplica(t *testing.T) {
	t.Parallel()
	up, r := freshUpstream(t), redisServer(t)
	slowly(t, up, 200)
	env := warming(harness.Env{"REDIS_URL": r.URL()})
	leaving := warmfront(t, up.URL, env)
	warmNow(t, leaving)
	progressed(t, leaving, 2)
	leaving.Stop()
	if code, err := leaving.ExitCode(time.Minute); err != nil || code != 0 {
		t.Fatalf("exit %d (%v)", code, err)
	}
	held, err := dialRedis(t, r).Exists(t.Context(), "warmfront:{warm}:lease").Result()
	ok(t, err)
	if held != 0 {
		t.Fatal("the lease was not given back")
	}
	p := warmedFor(t, warmfront(t, up.URL, env), "")
	if p.LastRun.Done != p.LastRun.Total || p.LastRun.Failed > 0 || p.LastRun.Reason != "by hand" {
		t.Fatalf("not all is done: %+v", *p.LastRun)
	}
}
