package keying

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"warmfront/keying/rule"
)

// A Verdict is what a successful answer shows of itself.
type Verdict struct {
	// LastDate is the newest date in it, YYYY-MM-DD, "" where it shows none; of an answer about several
	// tickers, the oldest of their newest: one that is older than the data was computed from stale bars (trap 5).
	LastDate string
	// Cached: the server computed it some time before, at CachedAt if it says so, in ms since 1970.
	Cached   bool
	CachedAt int64
}

// Judge looks for the route's own sign of success in a decoded answer: 200 is not success (trap 8).
// Answers are large; nothing but the fields that matter is looked at. revs are the revisions of the request's
// bots; those of which none is given are taken to be there.
func (q *Request) Judge(body []byte, revs ...Revision) (Verdict, error) {
	a := &answer{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body)), body: body, q: q, count: q.asked.count}
	if absent := len(q.Bots) - len(q.Present(revs)); absent > 0 {
		if a.count = q.shownWithout(absent); a.count < 0 {
			return Verdict{}, errors.New("keying: judging an answer: whether it counts a bot that is absent can't be told")
		}
	}
	if err := a.judge(); err != nil {
		return Verdict{}, fmt.Errorf("keying: judging an answer of %s: %w", q.Route.Name, err)
	}
	return a.verdict, nil
}

// An answer is read field by field. A check consumes exactly one value.
type answer struct {
	*jsontext.Decoder
	body    []byte
	q       *Request
	count   int // as asked.count
	verdict Verdict
}

type check func(*answer) error

func (a *answer) judge() error {
	seen := 0
	err := a.fields(func(name string) error {
		if name == "error" {
			return errors.New("it has an error")
		}
		if name == "errors" {
			return a.noErrors()
		}
		if name == "cached" {
			return a.computed()
		}
		if name == "cachedAt" && a.PeekKind() == '0' {
			at, err := a.ReadToken()
			if err != nil {
				return syntax(err)
			}
			ms, err := at.Float()
			a.verdict.CachedAt = int64(ms)
			return err
		}
		check, ok := a.q.Route.answer[name]
		if !ok {
			return a.SkipValue()
		}
		seen++
		if err := check(a); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if seen != len(a.q.Route.answer) {
		return errors.New("a field is missing")
	}
	return a.end()
}

// end makes sure that nothing follows.
func (a *answer) end() error {
	if len(bytes.Trim(a.UnreadBuffer(), " \t\r\n")) > 0 {
		return errors.New("data after the value")
	}
	return nil
}

// noErrors: benchmarks and batch answers list there what they could not do.
func (a *answer) noErrors() error {
	v, err := a.ReadValue()
	if err != nil {
		return syntax(err)
	}
	switch string(bytes.Join(bytes.Fields(v), nil)) {
	case "[]", "{}", "null", `""`, "false":
		return nil
	}
	return errors.New("it lists errors")
}

// computed notes whether the server computed the answer for this request. Its own cache forgets some of
// what a request may ask for (trap 6), so what comes out of it may be the answer to another: then only a
// computation is believed.
func (a *answer) computed() error {
	v, err := a.ReadValue()
	if err != nil {
		return syntax(err)
	}
	a.verdict.Cached = string(v) != "false"
	if a.verdict.Cached && a.q.asked.forgotten {
		return errors.New("it comes from the server's cache, which forgets what was asked for")
	}
	return nil
}

// fields calls f for each field of the object that is next; f consumes the value.
func (a *answer) fields(f func(name string) error) error {
	if err := a.open('{'); err != nil {
		return err
	}
	for a.PeekKind() == '"' {
		name, err := a.ReadToken()
		if err != nil {
			return syntax(err)
		}
		if err := f(name.String()); err != nil {
			return err
		}
	}
	return a.close()
}

// elements calls each for each element of the array that is next; each consumes it. n is how many.
func (a *answer) elements(each func() error) (n int, err error) {
	if err := a.open('['); err != nil {
		return 0, err
	}
	for k := a.PeekKind(); k != ']' && k != 0; k = a.PeekKind() {
		if err := each(); err != nil {
			return n, err
		}
		n++
	}
	return n, a.close()
}

func (a *answer) open(kind jsontext.Kind) error {
	if a.PeekKind() != kind {
		return fmt.Errorf("not what begins with %c", byte(kind))
	}
	_, err := a.ReadToken()
	return err
}

func (a *answer) close() error {
	if _, err := a.ReadToken(); err != nil {
		return syntax(err)
	}
	return nil
}

// skip consumes a value of the kind.
func (a *answer) skip(kind jsontext.Kind) error {
	if a.PeekKind() != kind {
		return fmt.Errorf("not what begins with %c", byte(kind))
	}
	if _, err := a.ReadValue(); err != nil {
		return syntax(err)
	}
	return nil
}

func isTrue(a *answer) error   { return a.skip('t') }
func isObject(a *answer) error { return a.skip('{') }
func isArray(a *answer) error  { return a.skip('[') }

// show notes the newest date of one ticker, or of all that an answer is about.
func (a *answer) show(date string) {
	if a.verdict.LastDate == "" || date < a.verdict.LastDate {
		a.verdict.LastDate = date
	}
}

// lastOf consumes an array of objects and returns the last one.
func (a *answer) lastOf() (last value, n int, err error) {
	var raw []byte
	n, err = a.elements(func() error {
		v, err := a.ReadValue()
		if err != nil {
			return syntax(err)
		}
		end := a.InputOffset()
		raw = a.body[end-int64(len(v)) : end]
		return nil
	})
	if err != nil || n == 0 {
		return last, n, err
	}
	last, err = parseObject(raw)
	return last, n, err
}

// isCurve: rows of {date, equity}, at least one.
func isCurve(a *answer) error {
	last, n, err := a.lastOf()
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("empty")
	}
	date := last.get("date")
	if date == nil || !isDate(date.text) {
		return errors.New("the last row shows no date")
	}
	a.show(date.text)
	return nil
}

// isCandles: candles of {time, ...} in seconds since 1970, at least one.
func isCandles(a *answer) error {
	last, n, err := a.lastOf()
	if err != nil {
		return err
	}
	seconds, ok := last.get("time").integer()
	if n == 0 || !ok {
		return errors.New("the last candle shows no time")
	}
	date := time.Unix(int64(seconds), 0).UTC().Format(time.DateOnly)
	if !isDate(date) {
		return errors.New("the last candle's time is no date of ours")
	}
	a.show(date)
	return nil
}

// isReport: the server's own cache forgets a report's options (trap 6), so its meta must name those
// asked for.
func isReport(a *answer) error {
	named := false
	err := a.fields(func(name string) error {
		if name != "meta" {
			return a.SkipValue()
		}
		raw, err := a.ReadValue()
		if err != nil {
			return syntax(err)
		}
		meta, err := parseObject(raw)
		if err != nil {
			return err
		}
		named = true
		for _, option := range a.q.asked.options.kids {
			got := meta.get(option.name)
			if rule.Off(rule.OptionsNamed) {
				break
			}
			if got == nil || got.kind != option.kind || got.text != option.text || !got.scalar() {
				return fmt.Errorf("made with another %s than asked for", option.name)
			}
		}
		return nil
	})
	if err == nil && !named {
		err = errors.New("no meta")
	}
	return err
}

// isTicker: the answer is about the ticker that the key is about.
func isTicker(a *answer) error {
	t, err := a.ReadToken()
	if err != nil {
		return syntax(err)
	}
	if t.Kind() != '"' || t.String() != a.q.Tickers[0] {
		return errors.New("another ticker")
	}
	return nil
}

func hasTickers(a *answer) error { return a.covers(isObject) }
func hasCandles(a *answer) error { return a.covers(isCandles) }

// covers consumes an object that has a field for every ticker asked for, each of which passes.
func (a *answer) covers(each check) error {
	have := map[string]bool{}
	err := a.fields(func(name string) error {
		have[name] = true
		return each(a)
	})
	if err != nil {
		return err
	}
	for _, t := range a.q.Tickers {
		if t != "" && !have[t] && !have[cleanTicker(t)] {
			return errors.New("a ticker asked for is missing")
		}
	}
	return nil
}

// isAll: as many as were asked for; the server leaves out silently what failed.
func isAll(a *answer) error {
	n, err := a.elements(a.SkipValue)
	if err == nil && n != a.count {
		err = fmt.Errorf("%d of %d", n, a.count)
	}
	return err
}

// isOverlays: one for each condition, at least one. Their rows show dates.
func isOverlays(a *answer) error {
	n, err := a.elements(func() error {
		return a.fields(func(name string) error {
			if name != "leftSeries" || a.PeekKind() != '[' {
				return a.SkipValue()
			}
			last, _, err := a.lastOf()
			if date := last.get("date"); err == nil && date != nil && isDate(date.text) {
				a.show(date.text)
			}
			return err
		})
	})
	if err == nil && (n == 0 || n != a.count) {
		err = fmt.Errorf("%d overlays for %d conditions", n, a.count)
	}
	return err
}
