package test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"warmfront/test/harness"
)

// asked is a request to run bot-7 that is under way.
type asked struct {
	answer <-chan *harness.Answer
	leave  context.CancelFunc
}

// ask sends the request and does not wait for its answer: nil when there was none.
func ask(t *testing.T, w *harness.Server) asked {
	t.Helper()
	ctx, cancel := context.WithCancel(limit(t))
	answer, c := make(chan *harness.Answer, 1), client(t)
	go func() {
		a, err := harness.Send(ctx, c, harness.Request{Method: http.MethodPost, URL: w.URL + runPath, Body: []byte(`{}`)})
		if err != nil {
			a = nil
		}
		answer <- a
	}()
	return asked{answer, cancel}
}

// reaches waits until so many runs of bot-7 have reached the server.
func reaches(t *testing.T, up *harness.Upstream, n int) {
	t.Helper()
	until(t, func() error {
		got, err := up.Requests("POST", runPath)
		if err == nil && len(got) < n {
			err = fmt.Errorf("%d of %d runs have reached the server", len(got), n)
		}
		return err
	})
}

func TestTenClicksOverTwoReplicasAreComputedOnce(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, DelayMS: 400})
	before, err := up.Counts()
	ok(t, err)
	answers := make([]*harness.Answer, 10)
	var clicks sync.WaitGroup
	for i := range answers {
		w := []*harness.Server{one, two}[i%2]
		clicks.Go(func() { answers[i] = <-ask(t, w).answer })
	}
	clicks.Wait()
	for _, a := range answers {
		if a == nil {
			t.Fatal("a click was not answered")
		}
		expect(t, a, 200)
		if curve(t, a) != curve(t, answers[0]) {
			t.Fatalf("another answer\n%s", a)
		}
	}
	after, err := up.Counts()
	ok(t, err)
	if n := after.Backtests - before.Backtests; n != 1 {
		t.Errorf("ten clicks were %d backtests, expected 1; all requests: %v", n, after.Routes)
	}
	shared := `warmfront_computations_total{lease="shared"} 1`
	if in := strings.Contains; in(string(body(t, get(t, one.URL+"/_warmfront/metrics"))), shared) == in(string(body(t, get(t, two.URL+"/_warmfront/metrics"))), shared) {
		t.Errorf("%s on both replicas, or on none; expected on one", shared)
	}
}

func TestAReplicaTakesOverFromOneThatIsKilledWhileItComputes(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Hang: true})
	ask(t, one)
	reaches(t, up, 1)
	waits := ask(t, two)
	one.Kill()
	a := <-waits.answer
	if a == nil {
		t.Fatal("no answer")
	}
	expect(t, a, 200, "X-Cache-Tier: upstream")
	reached(t, up, runRoute, 2)
}

func TestTheNextReplicaComputesWhenTheClientOfTheFirstLeaves(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Hang: true})
	first := ask(t, one)
	reaches(t, up, 1)
	waits := ask(t, two)
	first.leave()
	a := <-waits.answer
	if a == nil {
		t.Fatal("no answer")
	}
	expect(t, a, 200)
	reached(t, up, runRoute, 2)
}

func TestNobodyWaitsForARedisThatStopsMeanwhile(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, r := replicas(t, up, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, Hang: true})
	first := ask(t, one)
	defer first.leave()
	reaches(t, up, 1)
	waits := ask(t, two)
	ok(t, r.Signal(syscall.SIGSTOP))
	defer func() { ok(t, r.Signal(syscall.SIGCONT)) }()
	a := <-waits.answer // while the first still computes
	if a == nil {
		t.Fatal("no answer")
	}
	expect(t, a, 200, "X-Cache-Tier: upstream")
	reached(t, up, runRoute, 2)
}

func TestAFailureOfOneReplicasCallIsNotTheOthers(t *testing.T) {
	t.Parallel()
	for _, status := range []int{503, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			up := upstream(t)
			one, two, _ := replicas(t, up, nil)
			override(t, up, harness.Override{Method: "POST", Path: runPath, Status: status, Body: `{"error":"no"}`, DelayMS: 500})
			first := ask(t, one)
			reaches(t, up, 1)
			a := <-ask(t, two).answer
			if a == nil {
				t.Fatal("no answer")
			}
			expect(t, a, 200)
			if failed := <-first.answer; failed == nil || failed.Status == 200 {
				t.Fatalf("the first was to fail\n%s", failed)
			}
			reached(t, up, runRoute, 2)
		})
	}
}

func TestAnAnswerThatIsNotKeptMakesNobodyQueue(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	one, two, _ := replicas(t, up, nil)
	override(t, up, harness.Override{Method: "POST", Path: runPath, AddHeaders: map[string]string{"Cache-Control": "no-store"}, DelayMS: 300, Times: 9})
	first := ask(t, one)
	reaches(t, up, 1)
	var all []asked
	for range 3 {
		all = append(all, ask(t, two))
	}
	for _, a := range append(all, first) {
		got := <-a.answer
		if got == nil {
			t.Fatal("no answer")
		}
		expect(t, got, 200, "X-Cache: PASS")
	}
}
