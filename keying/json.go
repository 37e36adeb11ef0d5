package keying

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of what is keyed. maxDepth bounds every walk over a value, all of which recurse: a strategy of 170
// nested nodes nests three times as deep in JSON. maxValues bounds the memory that a hostile body can make
// us spend: a value costs more in the tree than in the text.
const (
	maxDepth  = 4096
	maxValues = 500_000
)

// A value is a JSON value: numbers spelled as ECMAScript spells the double they are, strings decoded, names
// in the order of the object that JSON.parse makes of the text. Where that order can't matter to the server,
// sort gives the names the one of RFC 8785.
type value struct {
	kind jsontext.Kind // n f t " 0 { [
	text string        // of a string, decoded; of a number, its canonical spelling
	kids []member      // of an object, by name; of an array, nameless
}

type member struct {
	name string
	value
}

func text(s string) value     { return value{kind: '"', text: s} }
func number(n int) value      { return value{kind: '0', text: strconv.Itoa(n)} }
func (v *value) push(e value) { v.kids = append(v.kids, member{value: e}) }

// object builds an object of alternating names and values.
func object(pairs ...any) value {
	v := value{kind: '{'}
	for i := 0; i < len(pairs); i += 2 {
		v.set(pairs[i].(string), pairs[i+1].(value))
	}
	return v
}

func (v *value) find(name string) int {
	return slices.IndexFunc(v.kids, func(m member) bool { return m.name == name })
}

func (v *value) get(name string) *value {
	if i := v.find(name); i >= 0 {
		return &v.kids[i].value
	}
	return nil
}

// set gives a member of an object a value. An object that was sorted stays so.
func (v *value) set(name string, e value) {
	i := v.find(name)
	if i < 0 {
		if i = slices.IndexFunc(v.kids, func(m member) bool { return compareUTF16(m.name, name) > 0 }); i < 0 {
			i = len(v.kids)
		}
		v.kids = slices.Insert(v.kids, i, member{name: name})
	}
	v.kids[i].value = e
}

func (v *value) drop(names ...string) {
	v.kids = slices.DeleteFunc(v.kids, func(m member) bool { return slices.Contains(names, m.name) })
}

// sort puts the names of an object in the order of RFC 8785, section 3.2.3.
func (v *value) sort() {
	if v.kind == '{' {
		slices.SortFunc(v.kids, func(a, b member) int { return compareUTF16(a.name, b.name) })
	}
}

func (v *value) scalar() bool { return v.kind != '{' && v.kind != '[' }

// integer is the value as an integer, if it is a number that is one and fits.
func (v *value) integer() (int, bool) {
	if v == nil || v.kind != '0' {
		return 0, false
	}
	n, err := strconv.Atoi(v.text)
	return n, err == nil
}

// append writes v as RFC 8785 spells values, names in the order that they have.
func (v value) append(b []byte) []byte {
	switch v.kind {
	case '{', '[':
		b = append(b, byte(v.kind))
		for i := range v.kids {
			if i > 0 {
				b = append(b, ',')
			}
			if v.kind == '{' {
				b = append(quote(b, v.kids[i].name), ':')
			}
			b = v.kids[i].value.append(b)
		}
		return append(b, closing(v.kind))
	case '"':
		return quote(b, v.text)
	default:
		return append(b, v.text...)
	}
}

func closing(open jsontext.Kind) byte { return byte(open) + 2 } // '{' '}' and '[' ']' are two apart

// quote appends s as a JSON string in the minimal spelling of RFC 8785, section 3.2.2.2.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // fails for invalid UTF-8 only, which no parsed text holds
	return b
}

// parseObject reads a body that must be one JSON object, as I-JSON (RFC 7493) wants it: UTF-8, no name
// twice. Unlike RFC 8785 it refuses what canonical numbers would merge though the server's JSON.parse
// tells them apart: a number too large for a double (Infinity there) and minus zero.
func parseObject(body []byte) (value, error) {
	p := parser{src: string(body), dec: jsontext.NewDecoder(bytes.NewBuffer(body))}
	v, err := p.value()
	if err != nil {
		return value{}, err
	}
	if p.dec.PeekKind() != 0 || strings.TrimRight(p.src[p.dec.InputOffset():], " \t\r\n") != "" {
		return value{}, faulty("json", "data after the value")
	}
	if v.kind != '{' {
		return value{}, faulty("json", "not an object")
	}
	return v, nil
}

// A parser shares one copy of its source among all the strings that it returns, and few arrays among the
// members of all objects.
type parser struct {
	src   string
	dec   *jsontext.Decoder
	count int
	open  []member // of the containers being read, the innermost last
	room  []member // where those of the ones that were read are kept
}

func (p *parser) value() (value, error) {
	if p.count++; p.count > maxValues {
		return value{}, faulty("size", "more than %d values", maxValues)
	}
	switch kind := p.dec.PeekKind(); kind {
	case '{', '[':
		if _, err := p.dec.ReadToken(); err != nil {
			return value{}, syntax(err)
		}
		if p.dec.StackDepth() > maxDepth {
			return value{}, faulty("nesting", "deeper than %d", maxDepth)
		}
		return p.container(kind)
	case '"':
		s, err := p.text()
		return value{kind: '"', text: s}, err
	case '0':
		raw, err := p.raw()
		if err != nil {
			return value{}, err
		}
		return canonicalNumber(raw)
	default:
		raw, err := p.raw()
		return value{kind: kind, text: raw}, err
	}
}

// container reads members or elements up to and including the closing delimiter.
func (p *parser) container(kind jsontext.Kind) (value, error) {
	v := value{kind: kind}
	start := len(p.open)
	for {
		if k := p.dec.PeekKind(); k == '}' || k == ']' {
			break
		}
		var m member
		var err error
		if kind == '{' {
			if m.name, err = p.text(); err != nil {
				return v, err
			}
		}
		if m.value, err = p.value(); err != nil {
			return v, err
		}
		p.open = append(p.open, m)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return v, syntax(err)
	}
	v.kids = p.keep(p.open[start:])
	p.open = p.open[:start]
	if kind == '{' {
		v.indicesFirst()
	}
	return v, nil
}

// maxRoom is for how many members room is made at a time.
const maxRoom = 512

func (p *parser) keep(list []member) []member {
	if cap(p.room)-len(p.room) < len(list) {
		p.room = make([]member, 0, max(len(list), min(2*cap(p.room), maxRoom), 8))
	}
	start := len(p.room)
	p.room = append(p.room, list...)
	return p.room[start:len(p.room):len(p.room)]
}

// indicesFirst moves names that are array indices to the front, in ascending order: the order of the
// properties of a JavaScript object (ECMA-262, OrdinaryOwnPropertyKeys).
func (v *value) indicesFirst() {
	type indexed struct {
		index uint64
		member
	}
	var front []indexed
	for i := range v.kids {
		if n, ok := arrayIndex(v.kids[i].name); ok {
			front = append(front, indexed{n, v.kids[i]})
		}
	}
	if len(front) == 0 {
		return
	}
	slices.SortFunc(front, func(a, b indexed) int { return cmp.Compare(a.index, b.index) })
	kids := make([]member, 0, len(v.kids))
	for _, f := range front {
		kids = append(kids, f.member)
	}
	for i := range v.kids {
		if _, ok := arrayIndex(v.kids[i].name); !ok {
			kids = append(kids, v.kids[i])
		}
	}
	v.kids = kids
}

// arrayIndex reads the one spelling of an integer below 2³²-1.
func arrayIndex(name string) (uint64, bool) {
	if name == "" || name[0] < '0' || name[0] > '9' || name[0] == '0' && len(name) > 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return n, err == nil && n < math.MaxUint32
}

// raw reads a scalar and returns its spelling.
func (p *parser) raw() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", syntax(err)
	}
	end := int(p.dec.InputOffset())
	return p.src[end-len(raw) : end], nil
}

// text reads a string or a name and decodes it.
func (p *parser) text() (string, error) {
	raw, err := p.raw()
	if err != nil {
		return "", err
	}
	if strings.IndexByte(raw, '\\') < 0 && len(raw) >= 2 {
		return raw[1 : len(raw)-1], nil
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", syntax(err)
	}
	return string(s), nil
}

func canonicalNumber(raw string) (value, error) {
	if n := len(raw); n < 16 && raw[0] != '-' && (raw[0] != '0' || n == 1) && strings.Trim(raw, "0123456789") == "" {
		return value{kind: '0', text: raw}, nil // an integer that a double holds exactly is canonical
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || math.IsInf(f, 0) || f == 0 && math.Signbit(f) {
		return value{}, faulty("number", "a number that has no canonical form of its own")
	}
	return value{kind: '0', text: string(jsontext.AppendFloat(nil, f, 64))}, nil
}

// syntax tells what is wrong with a text without quoting it: the decoder's own messages hold names
// and characters of the body (trap 14).
func syntax(err error) error {
	var at int64
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = se.ByteOffset
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return faulty("duplicate-name", "a name twice in an object, at byte %d", at)
	}
	return faulty("json", "malformed JSON at byte %d", at)
}

// compareUTF16 orders strings by UTF-16 code units (RFC 8785, section 3.2.3). That is the order of their
// bytes, but for characters beyond U+FFFF, whose surrogates come before U+E000.
func compareUTF16(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return cmp.Compare(len(a), len(b))
	}
	if a[i] < 0xEE || b[i] < 0xEE { // below U+E000 in one of them: no surrogate can change the order
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(surrogateFirst(a[i]), surrogateFirst(b[i]))
}

// surrogateFirst ranks the lead bytes EE..F4 as the UTF-16 order does: four-byte characters first.
func surrogateFirst(c byte) int {
	if c >= 0xF0 && utf8.RuneStart(c) {
		return int(c) - 0x100
	}
	return int(c)
}
