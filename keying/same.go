package keying

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxAnswerDepth bounds how deep two answers are compared. The server's own nest less than ten deep.
const maxAnswerDepth = 64

// Same compares two decoded answers of the route field by field: numbers by their value, objects whatever
// the order of their names, and without what two computations tell differently anyway (trap 9). Where they
// differ it names the first place, by the server's own field names and by positions, never by a value or by
// a name that could be somebody's, such as a ticker (trap 14). An error means that one of them can't be read.
//
// Answers are megabytes of which two are nearly always alike: they are read in step, and only what isn't
// alike byte for byte is taken apart.
func (q *Request) Same(a, b []byte) (same bool, where string, err error) {
	c := &comparison{route: q.Route}
	x, err := whole(a)
	if err != nil {
		return false, "", err
	}
	y, err := whole(b)
	if err != nil {
		return false, "", err
	}
	if same, err = c.values(x, y); same || err != nil {
		return same, "", err
	}
	return false, c.where(), nil
}

// A comparison is on its way through two answers. On a difference, path stays where it was found.
type comparison struct {
	route *Route
	path  []step
}

// step is a name or, in an array, a position.
type step struct {
	name string
	at   int
}

// whole is the one value that a text holds.
func whole(body []byte) (jsontext.Value, error) {
	r := newReader(body)
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if len(bytes.Trim(body[r.InputOffset():], " \t\r\n")) > 0 {
		return nil, faulty("json", "data after the value")
	}
	return v, nil
}

// A reader gives values as parts of its source.
type reader struct {
	*jsontext.Decoder
	src []byte
}

func newReader(src []byte) *reader {
	return &reader{jsontext.NewDecoder(bytes.NewBuffer(src)), src}
}

func (r *reader) value() (jsontext.Value, error) {
	v, err := r.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	end := int(r.InputOffset())
	return r.src[end-len(v) : end : end], nil
}

// more reports whether the container that was opened holds another value.
func (r *reader) more() bool {
	k := r.PeekKind()
	return k != 0 && k != '}' && k != ']'
}

func (c *comparison) values(a, b jsontext.Value) (bool, error) {
	if bytes.Equal(a, b) {
		return true, nil
	}
	if len(c.path) > maxAnswerDepth {
		return false, faulty("nesting", "deeper than %d", maxAnswerDepth)
	}
	kind := a.Kind()
	if kind != b.Kind() {
		return false, nil
	}
	switch kind {
	case '{':
		return c.objects(a, b)
	case '[':
		return c.arrays(a, b)
	case '0':
		return sameNumber(a, b), nil
	case '"':
		x, err1 := jsontext.AppendUnquote(nil, a)
		y, err2 := jsontext.AppendUnquote(nil, b)
		return err1 == nil && err2 == nil && bytes.Equal(x, y), nil
	}
	return false, nil
}

// sameNumber compares the doubles that JavaScript reads. What is out of their range is compared as spelled.
func sameNumber(a, b jsontext.Value) bool {
	x, err1 := strconv.ParseFloat(string(a), 64)
	y, err2 := strconv.ParseFloat(string(b), 64)
	return err1 == nil && err2 == nil && x == y && !math.IsInf(x, 0)
}

func (c *comparison) arrays(a, b jsontext.Value) (bool, error) {
	x, y := newReader(a), newReader(b)
	_, err1 := x.ReadToken()
	_, err2 := y.ReadToken()
	if err1 != nil || err2 != nil {
		return false, faulty("json", "malformed array")
	}
	for i := 0; ; i++ {
		c.path = append(c.path, step{at: i})
		more := x.more()
		if more != y.more() {
			return false, nil
		}
		if !more {
			c.path = c.path[:len(c.path)-1]
			return true, nil
		}
		v, err := x.value()
		if err != nil {
			return false, err
		}
		w, err := y.value()
		if err != nil {
			return false, err
		}
		if same, err := c.values(v, w); !same {
			return false, err
		}
		c.path = c.path[:len(c.path)-1]
	}
}

// rawField is a member of an object, as text.
type rawField struct {
	name string
	raw  jsontext.Value
}

// fieldsOf lists the members of an object in their order.
func fieldsOf(object jsontext.Value) ([]rawField, error) {
	r := newReader(object)
	if _, err := r.ReadToken(); err != nil {
		return nil, syntax(err)
	}
	var list []rawField
	for r.more() {
		name, err := r.ReadToken()
		if err != nil {
			return nil, syntax(err)
		}
		f := rawField{name: name.String()}
		if f.raw, err = r.value(); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

func (c *comparison) objects(a, b jsontext.Value) (bool, error) {
	x, err := fieldsOf(a)
	if err != nil {
		return false, err
	}
	y, err := fieldsOf(b)
	if err != nil {
		return false, err
	}
	others := make(map[string]jsontext.Value, len(y))
	for _, f := range y {
		others[f.name] = f.raw
	}
	for _, f := range x {
		other := others[f.name] // nil when there is none
		delete(others, f.name)
		if same, err := c.member(f.name, f.raw, other); !same {
			return false, err
		}
	}
	for _, f := range y {
		raw, left := others[f.name]
		if !left {
			continue
		}
		if same, err := c.member(f.name, nil, raw); !same {
			return false, err
		}
	}
	return true, nil
}

// member compares the fields of one name; one that is absent is nil.
func (c *comparison) member(name string, a, b jsontext.Value) (same bool, err error) {
	c.path = append(c.path, step{name: name, at: -1})
	switch full := c.name(); {
	case slices.Contains(c.route.volatile, full):
		same = true
	case full == "errors":
		same, err = sameList(a, b)
	case a == nil || b == nil:
		same = slices.Contains(c.route.optional, full)
	default:
		same, err = c.values(a, b)
	}
	if same {
		c.path = c.path[:len(c.path)-1]
	}
	return same, err
}

// sameList compares what a server could not do: it notes failures as they happen, in any order, and an
// empty list is as good as none.
func sameList(a, b jsontext.Value) (bool, error) {
	x, err := elementsOf(a)
	if err != nil {
		return false, err
	}
	y, err := elementsOf(b)
	return err == nil && slices.Equal(x, y), err
}

// elementsOf gives the elements of an array as texts, sorted; a value that is no array is one element.
func elementsOf(v jsontext.Value) ([]string, error) {
	switch {
	case v == nil || v.Kind() == 'n':
		return nil, nil
	case v.Kind() != '[':
		return []string{string(v)}, nil
	}
	r := newReader(v)
	if _, err := r.ReadToken(); err != nil {
		return nil, syntax(err)
	}
	var list []string
	for r.more() {
		e, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, string(e))
	}
	slices.Sort(list)
	return list, nil
}

// name is the path as the route's table spells it, "" for one through an array.
func (c *comparison) name() string {
	if len(c.path) > 4 {
		return ""
	}
	names := make([]string, len(c.path))
	for i, s := range c.path {
		if s.at >= 0 {
			return ""
		}
		names[i] = s.name
	}
	return strings.Join(names, ".")
}

// where is the path for a log: equityCurve[17].equity.
func (c *comparison) where() string {
	var b strings.Builder
	for _, s := range c.path {
		switch {
		case s.at >= 0:
			b.WriteString("[" + strconv.Itoa(s.at) + "]")
			continue
		case b.Len() > 0:
			b.WriteByte('.')
		}
		if ours(s.name) {
			b.WriteString(s.name)
		} else {
			b.WriteByte('*')
		}
	}
	return b.String()
}

// ours reports whether a name looks like one of the server's fields, and not like a ticker or an id.
func ours(name string) bool {
	if name == "" || len(name) > 32 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) < 0
}
