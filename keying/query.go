package keying

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// parseQuery reads a query as Express does by default (the qs package), as far as there is only one way
// to read it: brackets make qs build arrays and objects, a repeated name makes an array, and an escape
// that doesn't decode is kept raw. The order of names doesn't count.
func parseQuery(raw string) (value, error) {
	v := value{kind: '{'}
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '#' || c == ';' || c == '[' || c == ']' {
			return v, faulty("query", "a character that servers read differently, at byte %d", i)
		}
	}
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		if len(v.kids) == 100 {
			return v, faulty("query", "more than 100 parameters")
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err1 := decodeQuery(rawName)
		val, err2 := decodeQuery(rawValue)
		if err1 != nil || err2 != nil {
			return v, faulty("query", "an escape that doesn't decode to text without brackets")
		}
		if v.get(name) != nil {
			return v, faulty("query", "a repeated parameter")
		}
		v.set(name, text(val))
	}
	return v, nil
}

func decodeQuery(raw string) (string, error) {
	s, err := url.QueryUnescape(raw)
	if err == nil && (!utf8.ValidString(s) || strings.ContainsAny(s, "[]")) {
		err = url.EscapeError(raw)
	}
	return s, err
}
