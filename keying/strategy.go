package keying

import (
	"strings"

	"warmfront/keying/rule"
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
//     beside its number. So is one whose spelling means something to JavaScript (see ordinary).
//   - So with equal keys, the ids that one request has under the numbers map one to one to those of the
//     other, the map leaves every pinned id as it is, and applied to the one request it gives the other.
//
// That the server's answer doesn't change under such a renaming is what the contract infers and the
// audit checks; Exact is the way back. What the canonical text leaves out or sorts is for arrange to say.

// maxWords bounds the memory that the search for ids takes: with more words in its ids a request keeps
// them as they are.
const maxWords = 1 << 20

// A speller writes a request with its ids numbered.
type speller struct {
	payload, literal *value // the strategy; the part where everything is kept as spelled
	exact            bool

	out      []byte
	numbers  map[string]int
	ids      []string // by number
	pinned   []bool   // by number
	words    int      // in ids
	texts    []string // where ids may be mentioned
	shortest int      // of ids
}

// spell writes whole with the ids of payload, a part of it, renamed by order. Nothing inside literal,
// another part of it (the user's own indicators), is rewritten. Either may be nil. Where an id is an object or
// an array, which JavaScript may turn into a text or not, all ids stay as they are.
func spell(whole, payload, literal *value, ids IDs) []byte {
	s := &speller{payload: payload, literal: literal, exact: ids == Exact, numbers: map[string]int{}}
	if !s.exact && payload != nil && (!s.collect(payload) || s.words > maxWords) {
		return spell(whole, payload, literal, Exact)
	}
	mode := "exact"
	if !s.exact {
		mode = "order"
	}
	s.out = append(s.out, `{"ids":"`+mode+`","meaning":`...)
	s.value(whole, place{})
	findMentions(s.ids, s.texts, func(n int) { s.pinned[n] = true })
	s.out = append(s.out, `,"pinned":`...)
	s.out = s.pins().append(s.out)
	return append(s.out, '}')
}

// collect numbers the ids below v in canonical order. It reports whether they can be renamed.
func (s *speller) collect(v *value) bool {
	for i := range v.kids {
		m := &v.kids[i]
		if v.kind == '{' && m.name == "id" {
			if !m.scalar() && !rule.Off(rule.SpecialIDs) {
				return false
			}
			if m.kind == '"' {
				s.add(m.text)
			}
		}
		if !s.collect(&m.value) {
			return false
		}
	}
	return true
}

func (s *speller) add(id string) {
	if _, known := s.numbers[id]; known || id == "" || len(id) > maxID {
		return
	}
	s.numbers[id] = len(s.ids)
	s.ids = append(s.ids, id)
	s.pinned = append(s.pinned, !ordinary(id) && !rule.Off(rule.SpecialIDs))
	if len(s.ids) == 1 || len(id) < s.shortest {
		s.shortest = len(id)
	}
	for t := id; t != ""; s.words++ {
		_, t = cutWord(t)
	}
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
	default: // a number could be an id to JavaScript's objects, whose names are strings: see ordinary
		s.out = append(s.out, v.text...)
	}
}

func (s *speller) object(v *value, at place) {
	s.out = append(s.out, '{')
	for i := range v.kids {
		m := &v.kids[i]
		if i > 0 {
			s.out = append(s.out, ',')
		}
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

// refers reports whether the value of a field names a node, condition or item, or several.
func refers(name string) bool {
	name = strings.TrimSuffix(name, "s")
	switch name {
	case "nodeId", "conditionId", "parentId", "itemId":
		return true
	}
	return strings.HasSuffix(name, "NodeId") || strings.HasSuffix(name, "ConditionId") || strings.HasSuffix(name, "ItemId")
}

// mention notes a text: every id that is mentioned in it gets pinned.
func (s *speller) mention(t string) {
	if len(s.ids) > 0 && len(t) >= s.shortest {
		s.texts = append(s.texts, t)
	}
}
