package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"

	"warmfront/proxy/store"
)

// savedMetrics are the metrics of an answer as they are saved, in its order. Nulls are left out: the
// newer server refuses them (contract, trap 7).
type savedMetrics []savedField

type savedField struct {
	name string
	raw  jsontext.Value
}

// metricsIn finds the metrics in a stored answer of at most limit bytes. They stand near its beginning,
// and no more of it than that is decoded.
func metricsIn(e *store.Entry, limit int64) (savedMetrics, error) {
	var body io.Reader = bytes.NewReader(e.Body)
	if e.Gzip {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoMetrics, err)
		}
		body = z
	}
	d := jsontext.NewDecoder(io.LimitReader(body, limit))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errNoMetrics
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			break
		}
		if name.String() == "metrics" {
			return readMetrics(d)
		}
		if err := d.SkipValue(); err != nil {
			break
		}
	}
	return nil, errNoMetrics
}

func readMetrics(d *jsontext.Decoder) (savedMetrics, error) {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errNoMetrics
	}
	var m savedMetrics
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, errNoMetrics
		}
		name := token.String() // before the next read, which the token does not outlive
		v, err := d.ReadValue()
		if err != nil {
			return nil, errNoMetrics
		}
		if v.Kind() != 'n' {
			m = append(m, savedField{name, v.Clone()})
		}
	}
	if _, err := d.ReadToken(); err != nil || len(m) == 0 {
		return nil, errNoMetrics
	}
	return m, nil
}

// object is the JSON object of the metrics.
func (m savedMetrics) object() []byte {
	b := []byte{'{'}
	for i, f := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, f.name) // fails for invalid UTF-8 only, which was not read
		b = append(append(b, ':'), f.raw...)
	}
	return append(b, '}')
}

// shownIn reports whether what the server shows are these metrics: numbers by their value, and in either spelling.
// A bot is shown with the raw row, in snake_case and without some fields, while metrics are saved in
// camelCase (contract, trap 23): what a row doesn't have says nothing, but it must have something.
func (m savedMetrics) shownIn(shown map[string]json.RawMessage) bool {
	compared := false
	for _, f := range m {
		other, ok := shown[f.name]
		if !ok {
			other, ok = shown[snakeCase(f.name)]
		}
		if !ok {
			continue
		}
		if !bytes.Equal(f.raw, other) && !sameValue(string(f.raw), string(other)) {
			return false
		}
		compared = true
	}
	return compared
}

// snakeCase spells a camelCase name as the columns of a table are spelled.
func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) {
			if i > 0 {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// sameValue compares numbers as the doubles that they are on both sides.
func sameValue(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x == y
}
