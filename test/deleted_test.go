package test

import (
	"encoding/json"
	"testing"
)

func TestCorrelationThatNamesADeletedBotIsKeptUntilTheBotIsThere(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	valid := func(want string, bots int) {
		t.Helper()
		a := post(t, w.URL+"/api/correlation/optimize", `{"botIds":["bot-7","bot-8","gone"]}`)
		expect(t, a, 200, "X-Cache: "+want)
		if got := parsed[struct{ ValidBotIDs []string }](t, a).ValidBotIDs; len(got) != bots {
			t.Fatalf("the answer is about %q, expected %d bots\n%s", got, bots, a)
		}
	}
	valid("MISS", 2)
	valid("HIT", 2)
	expect(t, post(t, w.URL+"/api/bots/gone/run-backtest", `{}`), 404, "X-Cache: PASS")

	bot, err := json.Marshal(map[string]any{"id": "gone", "ownerId": "o", "name": "x", "visibility": "private", "payload": payload(t, up, "bot-9")})
	ok(t, err)
	if a := send(t, "POST", w.URL+"/api/bots", bot); a.Status/100 != 2 {
		t.Fatalf("the bot was not made\n%s", a)
	}
	valid("MISS", 3)
	valid("HIT", 3)

	expect(t, send(t, "DELETE", w.URL+"/api/bots/gone?ownerId=o", nil), 200)
	valid("HIT", 2)
}
