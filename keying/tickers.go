package keying

import (
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
	if n, ok := in.body.get("limit").integer(); ok && n > 0 {
		in.body.set("limit", number(clamp(n)))
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
