package keying

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Revision names the state of a saved bot by content: the strategy isn't in the request (trap 1), and
// a write that changes nothing is no new revision. Each part is a hash or, where the server doesn't show
// the content, "updatedAt:" and the time of its last change; "" when neither is known.
type Revision struct {
	Strategy string // the payload's meaning
	Exact    string // the payload's meaning with its ids as spelled (see Exact); stands in for Strategy where ids count
	Settings string // stored mode and costs
	Metrics  string // saved metrics, without their times
	Uses     string // some of the tickers that the strategy names, as a comma list; it counts for nothing
}

// parts says which parts of a revision an answer depends on.
type parts int

const (
	strategyPart parts = 1 << iota
	settingsPart
	metricsPart
)

func (r Revision) counting(p parts, ids IDs) []string {
	var list []string
	if ids == Exact {
		r.Strategy = r.Exact
	}
	for _, one := range []struct {
		part parts
		text string
	}{{strategyPart, r.Strategy}, {settingsPart, r.Settings}, {metricsPart, r.Metrics}} {
		if p&one.part != 0 {
			list = append(list, one.text)
		}
	}
	return list
}

// Hidden reports whether the bot was shown without its strategy: then only the time of its last change
// tells one revision from another.
func (r Revision) Hidden() bool { return strings.HasPrefix(r.Strategy, updatedPrefix) }

const updatedPrefix = "updatedAt:"

// RevisionOf reads the answer to GET /api/bots/:id, {"bot": {...}} or the bot itself.
func RevisionOf(body []byte) (Revision, error) {
	bot, err := parseObject(body)
	if err != nil {
		return Revision{}, fmt.Errorf("keying: reading a bot: %w", err)
	}
	if inner := bot.get("bot"); inner != nil && inner.kind == '{' {
		bot = *inner
	}
	updated := updatedAt(&bot)
	payload := bot.get("payload")
	rev := Revision{Settings: updated}
	rev.readStrategy(payload)
	if rev.Strategy == "" {
		rev.Strategy, rev.Exact = updated, updated
	}
	if rev.Strategy == "" {
		return Revision{}, errors.New("keying: reading a bot: it shows neither a payload nor when it was updated")
	}
	if settings := pick(&bot, "backtestMode", "backtest_mode", "backtestCostBps", "backtest_cost_bps"); len(settings.kids) > 0 {
		rev.Settings = hash(settings.append(nil))
	}
	rev.Metrics = metricsHash(bot.get("metrics"))
	return rev, nil
}

// updatedAt is the sign of change that a bot shows even when it hides its payload (nexus bots, section 3).
func updatedAt(bot *value) string {
	for _, name := range []string{"updatedAt", "updated_at"} {
		if v := bot.get(name); v != nil && (v.kind == '"' || v.kind == '0') && v.text != "" {
			return updatedPrefix + v.text
		}
	}
	return ""
}

// readStrategy takes the hashes of a payload's meaning, none when none is shown, and the tickers in it. What
// isn't a strategy in JSON (a compressed one, say) counts as it is spelled.
func (r *Revision) readStrategy(payload *value) {
	if payload == nil || payload.kind == 'n' || payload.kind == '"' && payload.text == "" {
		return
	}
	if payload.kind == '"' {
		inner, err := parseObject([]byte(payload.text))
		if err != nil {
			r.Strategy = hash([]byte("raw:" + payload.text))
			r.Exact = r.Strategy
			return
		}
		payload = &inner
	}
	if payload.kind == '{' && len(payload.kids) == 0 {
		return // an empty strategy is as good as a hidden one
	}
	payload.arrangeStrategy()
	r.Uses = strings.Join(tickersIn(payload, nil), ",")
	r.Strategy = hash(spell(payload, payload, nil, ByOrder))
	r.Exact = hash(spell(payload, payload, nil, Exact))
}

// metricsHash covers the saved metrics that the bot shows, but for the times of saving, in whichever spelling:
// a server shows the raw row, with the names of its columns, or fields as the browser names them (trap 23).
func metricsHash(metrics *value) string {
	if metrics == nil {
		return "none"
	}
	m := value{kind: metrics.kind, text: metrics.text, kids: slices.Clone(metrics.kids)}
	if m.kind == '{' {
		for i := range m.kids {
			m.kids[i].name = camelCase(m.kids[i].name)
		}
		if m.sort(); m.repeats() {
			m.kids = slices.Clone(metrics.kids) // one value in both spellings, or two values
			m.sort()
		}
		m.drop("lastBacktestAt", "updatedAt", "computedAt", "last_backtest_at", "updated_at", "computed_at")
	}
	return hash(m.append(nil))
}

// repeats reports whether a sorted object has a name twice.
func (v *value) repeats() bool {
	for i := range v.kids[min(1, len(v.kids)):] {
		if v.kids[i].name == v.kids[i+1].name {
			return true
		}
	}
	return false
}

// camelCase spells the name of a column as the browser's field.
func camelCase(name string) string {
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if next := i + 1; name[i] == '_' && i > 0 && next < len(name) && 'a' <= name[next] && name[next] <= 'z' {
			b = append(b, name[next]-'a'+'A')
			i = next
			continue
		}
		b = append(b, name[i])
	}
	return string(b)
}

// pick is the object of those fields that v has.
func pick(v *value, names ...string) value {
	picked := value{kind: '{'}
	for _, name := range names {
		if f := v.get(name); f != nil {
			picked.set(name, *f)
		}
	}
	return picked
}
