package seed

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// appendNumber spells f as JSON.stringify does: the shortest decimals that give the same double, null
// for NaN and the infinities, no minus zero.
func appendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(b, "null"...)
	case f == 0:
		return append(b, '0')
	}
	return jsontext.AppendFloat(b, f, 64)
}

// appendNumbers spells a series as a JSON array.
func appendNumbers(b []byte, series []float64) []byte {
	b = append(b, '[')
	for i, f := range series {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, f)
	}
	return append(b, ']')
}

// A Day is a date as the number of days since 1970-01-01.
type Day int32

// ParseDay reads YYYY-MM-DD, with or without a time of day behind it.
func ParseDay(s string) (Day, error) {
	if len(s) > 10 && (s[10] == 'T' || s[10] == ' ') {
		s = s[:10]
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, err
	}
	return Day(t.Unix() / secondsPerDay), nil // whole days: nothing to round
}

const secondsPerDay = 24 * 60 * 60

func (d Day) append(b []byte) []byte {
	return time.Unix(int64(d)*secondsPerDay, 0).UTC().AppendFormat(b, time.DateOnly)
}

// plain reports whether s can be a part of a key. A colon would make one key of two names, a brace
// would move the key to another slot of a cluster than its staged value.
func plain(s string) bool {
	return s != "" && len(s) <= 512 && utf8.ValidString(s) && !strings.ContainsAny(s, ":{}") &&
		strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// shaped reports whether key is kind and n plain parts behind it, and gives the parts.
func shaped(key, kind string, n int) (parts []string, ok bool) {
	parts = strings.Split(key, ":")
	if len(parts) != n+1 || parts[0] != kind {
		return nil, false
	}
	for _, p := range parts[1:] {
		if !plain(p) {
			return nil, false
		}
	}
	return parts[1:], true
}

// period reads the last part of an indicator's key, in the one spelling that is ever written.
func period(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && strconv.Itoa(n) == s
}
