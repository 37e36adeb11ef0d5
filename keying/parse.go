package keying

import (
	"errors"
	"slices"
	"strings"
)

// input is a request taken apart.
type input struct {
	param string
	query value
	body  value // an object; of a GET, empty
}

// asked is what Judge compares an answer with.
type asked struct {
	options   value // sanity: years, blockSize, shards, seed
	count     int   // bots, conditions or recommendations; -1 when it can't be told
	all       bool  // count would be smaller with fewer bots
	forgotten bool  // a saved bot's: something beside the defaults that the server's cache forgets (trap 6)
}

// Parse reads a request on route r. Its errors wrap ErrNotKeyed. The body is taken for JSON in UTF-8:
// the caller makes sure that its Content-Type says so, and that it has no Content-Encoding.
func (r *Route) Parse(param, rawQuery string, body []byte, ids IDs) (*Request, error) {
	q, err := r.parse(param, rawQuery, body, ids)
	if f, ok := errors.AsType[*fault](err); ok {
		return nil, &NotKeyed{Reason: f.reason, Err: f}
	}
	return q, err
}

func (r *Route) parse(param, rawQuery string, body []byte, ids IDs) (*Request, error) {
	if r.param != noParam && !validParam(r.param, param) {
		return nil, faulty("path", "the path names nothing")
	}
	query, err := parseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	in := &input{param: param, query: query, body: value{kind: '{'}}
	if r.Method != "POST" && len(body) > 0 {
		return nil, faulty("body", "a body where none belongs")
	}
	if len(body) > 0 { // Express reads an empty body as {}
		if in.body, err = parseObject(body); err != nil {
			return nil, err
		}
	}
	q := &Request{Route: r}
	if r.param == botParam {
		q.Bot, q.Bots = param, []string{param}
	}
	if err := r.canonicalise(q, in); err != nil {
		return nil, err
	}
	q.ids, q.in = ids, in
	q.meaning = mean(q, in, ids)
	q.uses = slices.Clip(tickersIn(&in.body, nil))
	return q, nil
}

// canonicalise leaves one spelling of a request among those that mean the same.
func (r *Route) canonicalise(q *Request, in *input) error {
	in.body.arrange()
	if r.Name == "run-backtest" {
		q.force(in.body)
	}
	in.body.drop("forceRefresh") // it chooses between the server's cache and a run, not between answers
	for _, name := range r.ignored {
		in.body.drop(name)
	}
	for _, f := range r.defaults {
		if v := in.body.get(f.name); v == nil || f.or != nil && f.or(v) {
			in.body.set(f.name, f.def)
		}
	}
	if err := r.parsePayload(in); err != nil {
		return err
	}
	if r.payload != noPayload {
		in.dropUnusedIndicators()
	}
	if r.read == nil {
		return nil
	}
	return r.read(q, in)
}

// parsePayload puts the strategy inside a string in the string's place (trap 2), in its canonical form.
func (r *Route) parsePayload(in *input) error {
	p := in.body.get("payload")
	switch {
	case r.payload == noPayload:
		return nil
	case p != nil && p.kind == '{':
	case r.payload == optionalPayload:
		return nil
	case p == nil || p.kind != '"':
		return faulty("payload", "the payload is neither an object nor a string")
	default:
		inner, err := parseObject([]byte(p.text))
		if err != nil {
			return err
		}
		*p = inner
	}
	p.arrangeStrategy()
	return nil
}

// mean spells the meaning: the rest of the key's hash is about the world, this is about the request.
func mean(q *Request, in *input, ids IDs) []byte {
	whole := object("body", in.body)
	if len(in.query.kids) > 0 {
		whole.set("query", in.query)
	}
	if q.Bot != "" {
		whole.set("bot", text(q.Bot))
	}
	if q.Route.payload == noPayload {
		return whole.append(nil)
	}
	return spell(&whole, in.body.get("payload"), in.body.get("customIndicators"), ids)
}

// null: a null takes the default as a missing field does (R1's costBps).
func null(v *value) bool { return v.kind == 'n' }

// falsy: whatever JavaScript's || replaces takes the default (R1's mode and benchmarkTicker).
func falsy(v *value) bool {
	return v.kind == 'n' || v.kind == 'f' || v.kind == '0' && v.text == "0" || v.kind == '"' && v.text == ""
}

// force notes whether a run-backtest asks for a fresh run (exactly true does), and the body that does.
func (q *Request) force(body value) {
	asks := body.get("forceRefresh")
	q.Refresh = asks != nil && asks.kind == 't'
	forced := value{kind: '{', kids: slices.Clone(body.kids)}
	forced.set("forceRefresh", value{kind: 't', text: "true"})
	q.forced = forced.append(nil)
}

// maxVariant is how long a variant may be; a longer one is named by its hash. It is remembered, and whoever asks may
// make it as long as a body can be.
const maxVariant = 200

func readRunBacktest(q *Request, in *input) error {
	variant := value{kind: '['}
	for _, name := range []string{"mode", "costBps", "benchmarkTicker"} {
		variant.push(*in.body.get(name))
	}
	if q.Variant = string(variant.append(nil)); len(q.Variant) > maxVariant {
		q.Variant = hash([]byte(q.Variant))
	}
	if b := in.body.get("benchmarkTicker"); b.kind == '"' {
		q.Benchmark = strings.Clone(b.text)
	} else {
		q.Benchmark = string(b.append(nil))
	}
	q.asked.forgotten = q.Benchmark != "SPY"
	return nil
}

func readSanity(q *Request, in *input) error {
	split := in.body.get("splitConfig")
	q.asked.forgotten = q.Bot != "" && (in.body.get("benchmarkTicker").text != "SPY" || split != nil && split.kind != 'n')
	q.asked.options = value{kind: '{'}
	for _, name := range []string{"years", "blockSize", "shards", "seed"} {
		q.asked.options.set(name, *in.body.get(name))
	}
	return nil
}

func readOptimize(q *Request, in *input) error {
	q.correlates(in)
	err := q.names(in, "botIds")
	q.asked.count, q.asked.all = len(q.Bots), true
	return err
}

func readRecommend(q *Request, in *input) error {
	q.correlates(in)
	if err := q.names(in, "currentBotIds"); err != nil {
		return err
	}
	current := len(q.Bots)
	if err := q.names(in, "candidateBotIds"); err != nil {
		return err
	}
	limit, ok := in.body.get("limit").integer()
	if !ok || limit < 0 {
		limit = -1
	}
	q.asked.count = min(limit, len(q.Bots)-current)
	q.asked.all = current == 0 && limit >= len(q.Bots)
	return nil
}

// correlates: a period that ends today moves with the day (R9).
func (q *Request) correlates(in *input) {
	period := in.body.get("period")
	q.Today = period.kind != '"' || period.text != "full"
}

const (
	// maxBots bounds the revisions that one request can make us ask for.
	maxBots = 1000
	// maxBotID bounds the ids that it may make up, in bytes: that there is no bot of that name is remembered.
	maxBotID = 512
)

// names adds the bots that a field lists, in its order.
func (q *Request) names(in *input, field string) error {
	list := in.body.get(field)
	if list == nil || list.kind != '[' {
		return faulty("bots", "%s is not an array", field)
	}
	if len(q.Bots)+len(list.kids) > maxBots {
		return faulty("bots", "more than %d bots", maxBots)
	}
	for _, id := range list.kids {
		if id.kind != '"' || len(id.text) > maxBotID || !validBot(id.text) {
			return faulty("bots", "%s holds what is not a bot's id", field)
		}
		q.Bots = append(q.Bots, strings.Clone(id.text))
	}
	return nil
}

func readIndicators(q *Request, in *input) error {
	if list := in.body.get("conditions"); list != nil && list.kind == '[' {
		q.asked.count = len(list.kids)
	}
	return nil
}
