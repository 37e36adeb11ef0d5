package upstream

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/proxy/board"
)

// accessTo gives an Access that asks a server which answers as handle does.
func accessTo(t *testing.T, handle http.HandlerFunc) *Access {
	t.Helper()
	c, _ := serve(t, handle)
	return NewAccess(c, board.New(nil, "", time.Hour, func(board.Subject) {}, zap.NewNop()), "SPY", zap.NewNop())
}

var candlesPlace = Place{Route: "candles"}

func TestProbeShowsWhetherCandlesAreEveryones(t *testing.T) {
	good := `{"ticker":"SPY","candles":[{"time":1768348800,"close":1}]}`
	for _, c := range []struct {
		status        int
		body          string
		public, known bool
	}{
		{200, good, true, true}, {200, `{"ticker":"SPY","candles":[]}`, false, true}, {200, `<html>`, false, true}, {404, `{}`, false, true},
		{400, `{}`, false, true}, {401, `{}`, false, true}, {403, good, false, true}, {500, good, false, false}, {503, "", false, false},
		{429, good, false, false}, {302, good, false, false},
	} {
		a := accessTo(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		if a.Serves(candlesPlace, true) || a.Known() {
			t.Error("public before the server was asked")
		}
		answered := a.Probe(context.Background())
		if got := a.Serves(candlesPlace, false); got != c.public || a.Serves(candlesPlace, true) != c.public || answered != c.known || a.Known() != c.known {
			t.Errorf("status %d, %s: public %v, answered %v, known %v; want public %v, known %v", c.status, c.body, got, answered, a.Known(), c.public, c.known)
		}
		if refused := c.status == 401 || c.status == 403; a.Asks() != refused {
			t.Errorf("status %d: asks for credentials %v", c.status, a.Asks())
		}
		if a.Serves(Place{Route: "backtest"}, true) {
			t.Errorf("status %d: another route is taken for public", c.status)
		}
	}
}

// A server that lets in by address tells a stranger so; then the success of one user says nothing of the next.
func TestServerThatRefusesStrangersIsPublicNowhere(t *testing.T) {
	var mu sync.Mutex
	refuses := false
	a := accessTo(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if refuses && r.Header.Get("X-Forwarded-For") != "" {
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprint(w, `{"ticker":"SPY","candles":[{"time":1768348800,"close":1}]}`)
	})
	bot, user := Place{"run-backtest", "bot-1"}, Who{"user", true}
	succeeds := func() string { return a.Succeeded(bot, user, a.Stamp(bot.Route)).String() }
	probe := func(refused bool) {
		mu.Lock()
		refuses = refused
		mu.Unlock()
		a.Probe(context.Background())
	}
	probe(false)
	before := succeeds()
	if before == "" || !a.Serves(bot, true) {
		t.Fatal("a user's success does not make the bot public")
	}
	probe(true)
	if a.Serves(bot, true) || a.Serves(candlesPlace, true) || a.Shown(bot, before, true) || succeeds() != "" {
		t.Error("public, though strangers are refused")
	}
	probe(false)
	if a.Serves(bot, true) || a.Shown(bot, before, true) {
		t.Error("what was proven before the refusal is believed again after it")
	}
	if succeeds() == "" || !a.Serves(bot, true) || !a.Serves(candlesPlace, true) {
		t.Error("not public, though strangers are let in again")
	}
}

func TestSuccessThatBeganBeforeARefusalProvesNothing(t *testing.T) {
	a := accessTo(t, http.NotFound)
	bot, user := Place{"run-backtest", "bot-1"}, Who{"user", true}
	began := a.Stamp(bot.Route)
	a.Refused(context.Background(), bot.Route, Who{"other", false})
	if a.Succeeded(bot, user, began) != (board.Stamp{}) || a.Serves(bot, true) {
		t.Error("public by a success from before the refusal")
	}
}

// A refusal is told to the others, and so is who may be let in again. A newcomer hears of it in the notices' order.
func TestWhatOthersSawCountsHere(t *testing.T) {
	a := accessTo(t, http.NotFound)
	bot, one, two := Place{"run-backtest", "bot-1"}, Who{"one", true}, Who{"two", true}
	a.HearOf(callerNotice(bot.Route, one, refused).Name)
	a.Hear(bot.Route)
	if a.Succeeded(bot, two, a.Stamp(bot.Route)) != (board.Stamp{}) || !a.Closed(bot.Route) {
		t.Error("the success of another address proves something while one is refused")
	}
	a.HearOf(callerNotice(bot.Route, one, letIn).Name)
	if a.Succeeded(bot, two, a.Stamp(bot.Route)) == (board.Stamp{}) || !a.Serves(bot, true) {
		t.Error("not public, though nobody is refused any more")
	}
}

// Each probe is of its own route, and would be keyed: otherwise its success could not be told.
func TestProbesAreRequestsThatTheRoutesKnow(t *testing.T) {
	for route, q := range newProbes("BRK.B").requests {
		path, query, _ := strings.Cut(q.path, "?")
		r, param, ok := keying.Match(q.method, path)
		if !ok || r.Name != route {
			t.Errorf("%s: %s %s is no request of it", route, q.method, q.path)
			continue
		}
		if _, err := r.Parse(param, query, []byte(q.body), keying.ByOrder); err != nil {
			t.Errorf("%s: %s: %v", route, q.body, err)
		}
	}
}

func TestRouteIsProbedWhenItIsWantedAndNotTooOften(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	a := accessTo(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		fmt.Fprint(w, `{"success":true,"results":{"SPY":[{"time":1768348800,"close":1}]}}`)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	for range 5 {
		a.Want("candles-batch")
		a.Want("run-backtest") // which saves metrics
	}
	for end := time.Now().Add(10 * time.Second); !a.Serves(Place{Route: "candles-batch"}, false); {
		if time.Now().After(end) {
			t.Fatal("the batch is not public after its probe")
		}
		time.Sleep(time.Millisecond)
	}
	a.Want("candles-batch")
	mu.Lock()
	defer mu.Unlock()
	if asked["/api/candles/batch"] != 1 || len(asked) > 3 {
		t.Errorf("asked %v; want one batch, and the probe at the start", asked)
	}
}
