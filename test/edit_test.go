package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// edit saves the bot as the browser does: the whole of it, with some fields changed.
func edit(t *testing.T, up *harness.Upstream, url, bot string, changed map[string]any) {
	t.Helper()
	saved := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/"+bot)).Bot
	whole := map[string]any{}
	for _, name := range []string{"ownerId", "name", "payload", "visibility", "tags"} {
		whole[name] = saved[name]
	}
	for name, value := range changed {
		whole[name] = value
	}
	b, err := json.Marshal(whole)
	ok(t, err)
	expect(t, send(t, "PUT", url+"/api/bots/"+bot, b), 200)
}

// curve is the part of a backtest that no two computations tell differently.
func curve(t *testing.T, a *harness.Answer) string {
	t.Helper()
	return string(parsed[struct{ EquityCurve json.RawMessage }](t, a).EquityCurve)
}

func TestEditedBotIsNeverServedItsOldBacktest(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1h"})
	old := post(t, w.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: MISS")
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")

	edit(t, up, w.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	edited := post(t, w.URL+runPath, `{}`)
	expect(t, edited, 200, "X-Cache: MISS")
	if curve(t, edited) == curve(t, old) {
		t.Fatalf("the old backtest\n%s", edited)
	}
	if want := curve(t, post(t, up.URL+runPath, `{"forceRefresh":true}`)); curve(t, edited) != want {
		t.Fatalf("not the backtest of the edited bot\n%s", edited)
	}
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
}

func TestEditedBackIsTheOldAnswerAgain(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	before, again := payload(t, up, "bot-7"), payload(t, up, "bot-7")
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": before})
	old := post(t, w.URL+runPath, `{}`)
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	edit(t, up, w.URL, "bot-7", map[string]any{"payload": again}) // with other ids than at first
	a := post(t, w.URL+runPath, `{}`)
	expect(t, a, 200, "X-Cache: HIT")
	sameBody(t, a, old)
}

func TestTagOnAnUnchangedStrategyKeepsItsBacktest(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for i := range 3 {
		edit(t, up, w.URL, "bot-7", map[string]any{"tags": []string{fmt.Sprint("tag ", i)}})
		expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: HIT")
	}
	reached(t, up, runRoute, 1)
}

func TestEditThatPassedElsewhereIsSeenWithinTheRevisionInterval(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "100ms"}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	old := post(t, two.URL+runPath, `{}`)
	expect(t, old, 200, "X-Cache: MISS")
	edit(t, up, one.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-9")})
	until(t, func() error {
		if a := post(t, two.URL+runPath, `{}`); curve(t, a) == curve(t, old) {
			return fmt.Errorf("still the old backtest\n%s", a)
		}
		return nil
	})
	always := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL(), "REVISION_INTERVAL": "0s"})
	expect(t, post(t, always.URL+runPath, `{}`), 200, "X-Cache: HIT")
	edit(t, up, up.URL, "bot-7", map[string]any{"payload": payload(t, up, "bot-10")}) // past every Warmfront
	expect(t, post(t, always.URL+runPath, `{}`), 200, "X-Cache: MISS")
}

func TestWriteInAnUnusualSpellingIsAWriteAllTheSame(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1h"})
	for i, spelling := range []string{"/API/Bots/bot-7", "/api/bots/bot-7/", "/api/BOTS/bot%2D7"} {
		source := fmt.Sprintf("bot-%d", 8+i)
		old := post(t, w.URL+runPath, `{}`)
		saved := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/bot-7")).Bot
		b, err := json.Marshal(map[string]any{"ownerId": saved["ownerId"], "name": saved["name"], "payload": payload(t, up, source),
			"visibility": saved["visibility"], "tags": saved["tags"]})
		ok(t, err)
		expect(t, send(t, "PUT", w.URL+spelling, b), 200)
		a := post(t, w.URL+runPath, `{}`)
		expect(t, a, 200, "X-Cache: MISS")
		if curve(t, a) == curve(t, old) {
			t.Fatalf("after a PUT to %s, the old backtest\n%s", spelling, a)
		}
	}
}

func TestDeletedBotIsNoLongerServed(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"REVISION_INTERVAL": "1h"})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	owner, _ := parsed[struct{ Bot map[string]any }](t, get(t, up.URL+"/api/bots/bot-7")).Bot["ownerId"].(string)
	gone := send(t, "DELETE", w.URL+"/api/bots/bot-7?ownerId="+owner, nil)
	if gone.Status/100 != 2 {
		t.Fatalf("expected the bot to be deleted\n%s", gone)
	}
	a := post(t, w.URL+runPath, `{}`)
	expect(t, a, 404, "X-Cache: PASS")
	if !strings.Contains(string(body(t, a)), "Bot not found") {
		t.Fatalf("expected the server's own words\n%s", a)
	}
}
