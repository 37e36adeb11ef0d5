package harness

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
)

// A Call is a request to an intercepted route that the stand-in server answers with success.
type Call struct {
	Name, Method, Path string
	Body               func() string // a GET has none; with fresh ids at each call, as browsers send it
}

// Request is the call to a server.
func (c Call) Request(url string, header ...string) Request {
	r := Request{Method: c.Method, URL: url + c.Path, Header: header}
	if c.Body != nil {
		r.Body = []byte(c.Body())
	}
	return r
}

// Calls has one for every route that is intercepted.
func (u *Upstream) Calls(ctx context.Context) ([]Call, error) {
	tree, err := u.Strategy(ctx, "bot-8")
	if err != nil {
		return nil, err
	}
	fixed := func(body string) func() string { return func() string { return body } }
	fresh := func(rest string) func() string {
		return func() string { return `{"payload":` + Quote(FreshIDs(tree)) + rest + `}` }
	}
	return []Call{
		{"run-backtest", "POST", "/api/bots/bot-7/run-backtest", fixed(`{"mode":"CC","costBps":5,"forceRefresh":false,"benchmarkTicker":"SPY"}`)},
		{"backtest", "POST", "/api/backtest", fresh(`,"mode":"CC","costBps":5`)},
		{"bot-sanity", "POST", "/api/bots/bot-7/sanity-report", fixed(`{}`)},
		{"sanity", "POST", "/api/sanity-report", fresh(``)},
		{"optimize", "POST", "/api/correlation/optimize", fixed(`{"botIds":["bot-1","bot-2"],"metric":"correlation","period":"full"}`)},
		{"recommend", "POST", "/api/correlation/recommend", fixed(`{"currentBotIds":["bot-1"],"candidateBotIds":["bot-2","bot-3"],"limit":2}`)},
		{"indicator-series", "POST", "/api/indicator-series", fixed(
			`{"conditions":[{"id":"c-1","ticker":"SPY","metric":"Relative Strength Index","window":14,"comparator":"gt","threshold":50}]}`)},
		{"benchmarks", "GET", "/api/benchmarks/metrics?tickers=SPY,QQQ", nil},
		{"candles", "GET", "/api/candles/SPY?limit=500", nil},
		{"candles-batch", "POST", "/api/candles/batch", fixed(`{"tickers":["SPY","QQQ"],"limit":100}`)},
	}, nil
}

// Strategy is the saved tree of a bot.
func (u *Upstream) Strategy(ctx context.Context, bot string) (tree any, err error) {
	a, err := Send(ctx, controlClient(), Request{Method: http.MethodGet, URL: u.URL + "/api/bots/" + bot})
	if err != nil {
		return nil, err
	}
	var shown struct {
		Bot struct {
			Payload any `json:"payload"`
		} `json:"bot"`
	}
	body, err := a.Body()
	if err == nil {
		err = json.Unmarshal(body, &shown)
	}
	tree = shown.Bot.Payload
	if text, ok := tree.(string); ok && err == nil {
		err = json.Unmarshal([]byte(text), &tree)
	}
	if err != nil || tree == nil {
		return nil, fmt.Errorf("the server shows no strategy of %s (%w)\n%s", bot, err, a)
	}
	return tree, nil
}

// FreshIDs is the JSON of a strategy whose every id is new: browsers do that before each backtest.
func FreshIDs(tree any) string {
	b, err := json.Marshal(renamed(tree))
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(b)
}

func renamed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		fields := make(map[string]any, len(v))
		for name, field := range v {
			fields[name] = renamed(field)
		}
		if _, ok := v["id"].(string); ok {
			fields["id"] = "node-" + rand.Text()
		}
		return fields
	case []any:
		elements := make([]any, len(v))
		for i := range v {
			elements[i] = renamed(v[i])
		}
		return elements
	}
	return v
}

// Quote is text as a JSON string.
func Quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // every string can be marshalled
	}
	return string(b)
}
