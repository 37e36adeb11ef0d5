package keying

import (
	"slices"
	"strings"
)

const (
	defaultTickers = "VTI,SPY,QQQ,DIA,DBC,DBO,GLD,BND,TLT,GBTC"

	defaultLimit = 1500
	minLimit     = 50
	maxLimit     = 20000
	maxTickers   = 500
)

// readBenchmarks reads the comma list of R5: trimmed, upper-cased, order kept. A present but empty list is
// not a missing one: what the server makes of it is not established.
func readBenchmarks(q *Request, in *input) error {
	list := defaultTickers
	if given := in.query.get("tickers"); given != nil {
		list = given.text
	}
	if !ascii(list) {
		return faulty("tickers", "a ticker beyond ASCII, which JavaScript upper-cases in its own way")
	}
	tickers := value{kind: '['}
	for _, t := range strings.Split(list, ",") {
		t = strings.ToUpper(trim(t))
		q.Tickers = append(q.Tickers, t)
		tickers.push(text(t))
	}
	in.query.set("tickers", tickers)
	return nil
}

// readCandles reads R6: the ticker is trimmed, upper-cased and cleaned, the limit clamped.
func readCandles(q *Request, in *input) error {
	if !ascii(in.param) {
		return faulty("tickers", "a ticker beyond ASCII, which JavaScript upper-cases in its own way")
	}
	ticker := cleanTicker(in.param)
	if ticker == "" {
		return faulty("tickers", "no ticker is left of the path's parameter")
	}
	limit, err := candleLimit(in.query.get("limit"))
	if err != nil {
		return err
	}
	q.Tickers = []string{ticker}
	in.query.set("limit", number(limit))
	in.body.set("ticker", text(ticker))
	return nil
}

func cleanTicker(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".=^-", c) {
			return c
		}
		return -1
	}, strings.ToUpper(s))
}

// candleLimit: none, an empty one and zero are 1500; digits are clamped; what else Number would read
// (signs, exponents, spaces, hexadecimal) isn't keyed.
func candleLimit(v *value) (int, error) {
	if v == nil || strings.Trim(v.text, "0") == "" {
		return defaultLimit, nil
	}
	if len(v.text) > 9 || strings.Trim(v.text, "0123456789") != "" {
		return 0, faulty("limit", "the limit is not a plain number")
	}
	n := 0
	for _, c := range v.text {
		n = 10*n + int(c-'0')
	}
	return clamp(n), nil
}

func clamp(n int) int { return min(max(n, minLimit), maxLimit) }

// readBatch reads R7. Tickers stay as they are: the answer is keyed by them.
func readBatch(q *Request, in *input) error {
	list := in.body.get("tickers")
	if list == nil || list.kind != '[' || len(list.kids) == 0 || len(list.kids) > maxTickers {
		return faulty("tickers", "tickers must be an array of 1 to %d", maxTickers)
	}
	for _, t := range list.kids {
		if t.kind != '"' {
			return faulty("tickers", "tickers must be strings")
		}
		q.Tickers = append(q.Tickers, strings.Clone(t.text))
	}
	q.Limit = defaultLimit
	if n, ok := in.body.get("limit").integer(); ok && n > 0 {
		q.Limit = clamp(n)
		in.body.set("limit", number(q.Limit))
	}
	return nil
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// trim removes what String.prototype.trim removes, of ASCII.
func trim(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

const (
	// maxUses bounds how many tickers of a strategy are named.
	maxUses = 8
	// maxTicker is how long one may be to be named: the server is asked for it, in a target that Node must take.
	maxTicker = 20
)

// Uses names some of the tickers that the answer depends on: the request's own, those of the strategy in
// its body, and those of its saved bots, whose revisions are parallel to q.Bots.
func (q *Request) Uses(revs []Revision) []string {
	list := q.uses
	for _, t := range q.Tickers[:min(len(q.Tickers), maxUses)] {
		if t = cleanTicker(t); t != "" && len(t) <= maxTicker {
			list = append(list, t)
		}
	}
	for _, rev := range revs {
		if rev.Uses != "" && len(list) < maxUses {
			list = append(list, strings.Split(rev.Uses, ",")...)
		}
	}
	return list
}

// tickersIn adds tickers that a strategy names: in conditions, on both sides, and in positions.
func tickersIn(v *value, list []string) []string {
	for i := range v.kids {
		kid := &v.kids[i]
		switch {
		case len(list) >= maxUses:
			return list
		case kid.name == "ticker" || kid.name == "rightTicker":
			list = addTicker(list, &kid.value)
		case kid.name == "positions":
			for j := range kid.kids {
				list = addTicker(list, &kid.kids[j].value)
			}
		}
		if !kid.scalar() {
			list = tickersIn(&kid.value, list)
		}
	}
	return list
}

func addTicker(list []string, v *value) []string {
	t := v.text
	if v.kind != '"' || t == "" || len(t) > maxTicker || t == "Empty" || cleanTicker(t) != strings.ToUpper(t) || len(list) >= maxUses {
		return list
	}
	if t = strings.ToUpper(t); slices.Contains(list, t) {
		return list
	}
	return append(list, strings.Clone(t))
}
