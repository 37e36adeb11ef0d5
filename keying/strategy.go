package keying

import (
	"slices"
	"strings"
)

// A strategy's ids are random and new in each request (trap 2), so a key holds numbers in their place.
// Why two requests with equal keys then say the same:
//
//   - Every distinct string that is the value of a field "id" inside the payload gets a number, in the
//     order of first appearance in the canonical text. Where it stands as an id, or in one of the fields
//     known to refer to ids, the number is written, as "#n". Other values of those fields are written
//     with "=" before them, so none can be taken for a number.
//   - All other strings and names are written as they are. An id that occurs in one of them, alone or
//     inside, could matter by its spelling: such an id is pinned, that is, its spelling is hashed
//     beside its number.
//   - So with equal keys, the ids that one request has under the numbers map one to one to those of the
//     other, the map leaves every pinned id as it is, and applied to the one request it gives the other.
//
// That the server's answer doesn't change under such a renaming is what the contract infers and the
// audit checks; Exact is the way back.

// maxID is how long an id may be to be renamed; maxSteps bounds the search for ids inside strings, after
// which a request keeps its ids as they are.
const (
	maxID    = 128
	maxSteps = 1 << 22
)

// A speller writes a request with its ids numbered.
type speller struct {
	payload, literal *value // the strategy; the part where everything is kept as spelled
	exact            bool

	out     []byte
	numbers map[string]int
	ids     []string // by number
	pinned  []bool   // by number
	lengths []int    // of ids, ascending
	steps   int
}

// spell writes whole in canonical form with the ids of payload, a part of it, renamed by order. Nothing
// inside literal, another part of it (the user's own indicators), is rewritten. Either may be nil. Where the
// search for ids in strings would take too long, all ids stay as they are.
func spell(whole, payload, literal *value, ids IDs) []byte {
	s := &speller{payload: payload, literal: literal, exact: ids == Exact, numbers: map[string]int{}}
	mode := "exact"
	if !s.exact {
		mode = "order"
		if payload != nil {
			s.collect(payload)
		}
		slices.Sort(s.lengths)
		s.lengths = slices.Compact(s.lengths)
	}
	s.out = append(s.out, `{"ids":"`+mode+`","meaning":`...)
	s.value(whole, place{})
	if s.steps > maxSteps {
		return spell(whole, payload, literal, Exact)
	}
	s.out = append(s.out, `,"pinned":`...)
	s.out = s.pins().append(s.out)
	return append(s.out, '}')
}

// collect numbers the ids below v in canonical order.
func (s *speller) collect(v *value) {
	for i := range v.kids {
		m := &v.kids[i]
		if v.kind == '{' && uiOnly(m) {
			continue
		}
		if v.kind == '{' && m.name == "id" && m.kind == '"' {
			if _, known := s.numbers[m.text]; !known && m.text != "" && len(m.text) <= maxID {
				s.numbers[m.text] = len(s.ids)
				s.ids = append(s.ids, m.text)
				s.lengths = append(s.lengths, len(m.text))
			}
		}
		s.collect(&m.value)
	}
	s.pinned = append(s.pinned, make([]bool, len(s.ids)-len(s.pinned))...)
}

// pins lists the pinned ids by number.
func (s *speller) pins() value {
	list := value{kind: '['}
	for n, pinned := range s.pinned {
		if pinned {
			list.push(value{kind: '[', kids: []member{{value: number(n)}, {value: text(s.ids[n])}}})
		}
	}
	return list
}

// place is where in the request a value stands.
type place struct {
	inPayload, inLiteral bool
	identifies           bool // it is the value of an id field or of one that refers to ids
}

func (s *speller) value(v *value, at place) {
	at.inPayload = at.inPayload || v == s.payload
	at.inLiteral = at.inLiteral || v == s.literal
	switch v.kind {
	case '{':
		s.object(v, at)
	case '[':
		s.out = append(s.out, '[')
		for i := range v.kids {
			if i > 0 {
				s.out = append(s.out, ',')
			}
			s.value(&v.kids[i].value, at)
		}
		s.out = append(s.out, ']')
	case '"':
		s.text(v.text, at)
	default:
		s.mention(v.text) // a number could be an id to JavaScript's objects, whose names are strings
		s.out = append(s.out, v.text...)
	}
}

func (s *speller) object(v *value, at place) {
	s.out = append(s.out, '{')
	first := true
	for i := range v.kids {
		m := &v.kids[i]
		if at.inPayload && uiOnly(m) {
			continue
		}
		if !first {
			s.out = append(s.out, ',')
		}
		first = false
		s.mention(m.name)
		s.out = append(quote(s.out, m.name), ':')
		inner := at
		inner.identifies = at.inPayload && m.name == "id" && m.kind == '"' || refers(m.name) && m.kind != '{'
		s.value(&m.value, inner)
	}
	s.out = append(s.out, '}')
}

func (s *speller) text(t string, at place) {
	if !at.identifies || at.inLiteral || s.exact {
		s.mention(t)
		s.out = quote(s.out, t)
		return
	}
	if n, ok := s.numbers[t]; ok {
		s.out = append(number(n).append(append(s.out, `"#`...)), '"')
		return
	}
	s.mention(t)
	s.out = quote(s.out, "="+t)
}

// uiOnly reports whether a field of a strategy is the editor's own (trap 2). Only a scalar is: an object
// of such a name could be anything.
func uiOnly(m *member) bool {
	return (m.name == "collapsed" || m.name == "bgColor") && m.scalar()
}

// refers reports whether the value of a field names a node, condition or item, or several.
func refers(name string) bool {
	name = strings.TrimSuffix(name, "s")
	switch name {
	case "nodeId", "conditionId", "parentId", "itemId":
		return true
	}
	return strings.HasSuffix(name, "NodeId") || strings.HasSuffix(name, "ConditionId") || strings.HasSuffix(name, "ItemId")
}

// mention pins every id that occurs in t between characters that aren't both alphanumeric, at either end:
// "node-1" in "branch:node-1-2", not in "xnode-1".
func (s *speller) mention(t string) {
	if len(s.lengths) == 0 || len(t) < s.lengths[0] {
		return
	}
	for from := 0; from < len(t) && s.steps <= maxSteps; from++ {
		if from > 0 && alphanumeric(t[from-1]) && alphanumeric(t[from]) {
			continue
		}
		for _, n := range s.lengths {
			s.steps++
			to := from + n
			if to > len(t) {
				break
			}
			if to < len(t) && alphanumeric(t[to-1]) && alphanumeric(t[to]) {
				continue
			}
			if number, ok := s.numbers[t[from:to]]; ok {
				s.pinned[number] = true
			}
		}
	}
}
