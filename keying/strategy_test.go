package keying

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// tree draws a strategy as the editor builds them, with ids n0, n1, ... in its text as «n0».
func tree(t *rapid.T) string {
	count := 0
	var node func(depth int) string
	pick := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(t, label) }
	fresh := func() string { count++; return fmt.Sprintf("«n%d»", count-1) }
	reference := func() string { return fmt.Sprintf("«n%d»", rapid.IntRange(0, count-1).Draw(t, "to")) }
	node = func(depth int) string {
		id := fresh()
		fields := []string{`"id":"` + id + `"`, `"kind":` + pick("kind", `"basic"`, `"indicator"`, `"position"`)}
		if rapid.Bool().Draw(t, "condition") {
			fields = append(fields, `"conditions":[{"id":"`+fresh()+`","ticker":"SPY","window":`+pick("window", "10", "1e1", "20")+
				`,"`+pick("field", "parentNodeId", "leftConditionId", "itemIds", "threshold")+`":"`+reference()+`"}]`)
		}
		if rapid.Bool().Draw(t, "ui") {
			fields = append(fields, `"collapsed":true`, `"bgColor":"#fff"`, `"title":"see `+reference()+`"`)
		}
		if depth < 3 {
			var slots []string
			for i := range rapid.IntRange(0, 3).Draw(t, "children") {
				slots = append(slots, fmt.Sprintf(`"slot%d":[%s,null]`, i, node(depth+1)))
			}
			fields = append(fields, `"children":{`+strings.Join(slots, ",")+`}`)
		}
		return "{" + strings.Join(fields, ",") + "}"
	}
	return node(0)
}

// name replaces the ids of a drawn tree by those that f gives.
func name(tree string, f func(n int) string) string {
	for n := strings.Count(tree, "«"); n >= 0; n-- {
		tree = strings.ReplaceAll(tree, fmt.Sprintf("«n%d»", n), f(n))
	}
	return tree
}

func numbered(prefix string) func(int) string {
	return func(n int) string { return fmt.Sprintf("%s-%03d-x", prefix, n) }
}

// random is an id as the browser makes them.
func random(seed int64) func(int) string {
	r := rand.New(rand.NewSource(seed))
	ids := map[int]string{}
	return func(n int) string {
		if ids[n] == "" {
			ids[n] = fmt.Sprintf("node-%d-%d-%x", 1736900000000+r.Int63n(1e9), n, r.Int63())
		}
		return ids[n]
	}
}

// mentions reports whether an id stands in a field that isn't known to refer to ids: it is pinned then.
func mentions(tree string) bool { return strings.Contains(tree, `"threshold":"«`) }

func backtestKey(t testing.TB, payload string) string {
	return post(t, "backtest", `{"payload":`+payload+`}`)
}

func TestAnyConsistentRenamingOfIDsKeepsTheKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawn := tree(rt)
		seed := rapid.Int64().Draw(rt, "seed")
		a, b := name(drawn, numbered("node")), name(drawn, random(seed))
		if same := backtestKey(t, a) == backtestKey(t, b); same == mentions(drawn) {
			rt.Fatalf("same key %v: %s and %s", same, a, b)
		}
		if backtestKey(t, a) != post(t, "backtest", `{"payload":`+quoted(a)+`}`) {
			rt.Fatalf("a payload in a string differs: %s", a)
		}
	})
}

func TestMergingOrSwappingIDsInPartChangesTheKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawn := tree(rt)
		a := name(drawn, numbered("node"))
		// Every id but the first stands once at least; rename one occurrence of one only.
		places := strings.Count(a, `"node-`)
		at := rapid.IntRange(0, places-1).Draw(rt, "place")
		other := rapid.SampledFrom([]string{"node-000-x", "node-001-x", "fresh"}).Draw(rt, "other")
		b, old := replaceNth(a, at, other)
		if old == other || strings.Count(a, quoted(old)) == 1 && !strings.Contains(a, quoted(other)) {
			return // nothing was changed, or an id that stands nowhere else was renamed
		}
		if backtestKey(t, a) == backtestKey(t, b) {
			rt.Fatalf("%s and %s share a key", a, b)
		}
	})
}

// replaceNth replaces the n-th string that is an id, and returns it.
func replaceNth(s string, n int, by string) (replaced, old string) {
	at := 0
	for ; ; n-- {
		at += strings.Index(s[at:], `"node-`)
		if n == 0 {
			break
		}
		at++
	}
	end := at + 1 + strings.IndexByte(s[at+1:], '"')
	return s[:at+1] + by + s[end:], s[at+1 : end]
}

// anyJSON draws a JSON value, names and all.
func anyJSON(t *rapid.T, depth int) string {
	word := rapid.OneOf(rapid.SampledFrom([]string{"id", "nodeId", "parentNodeId", "itemIds", "a", "b", "a-b", "#0", "=a", "1", "unknown", "valueOf", "collapsed", "bgColor", "\ue000", "𝄞", "é", "<&>\u2028"}), rapid.StringN(0, 4, 8))
	kind := rapid.IntRange(0, 7).Draw(t, "kind")
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0, 1, 2:
		return quoted(word.Draw(t, "text"))
	case 3:
		return rapid.SampledFrom([]string{"0", "1", "1.5", "-2e-7", "1e21", "123456789012345678901", "0.1"}).Draw(t, "number")
	case 4:
		return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "literal")
	case 5:
		var list []string
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			list = append(list, anyJSON(t, depth-1))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	return anyObject(t, depth, word)
}

func anyObject(t *rapid.T, depth int, word *rapid.Generator[string]) string {
	var list []string
	for _, n := range rapid.SliceOfNDistinct(word, 0, 4, rapid.ID[string]).Draw(t, "names") {
		list = append(list, quoted(n)+":"+anyJSON(t, depth-1))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// reference is the renaming rule written down a second time, as plainly as can be: two payloads may
// share a key only if one is a renaming of the other that leaves every id found in any text alone, and every
// id that JavaScript reads in its own way.
type reference struct {
	ids     map[string]string
	back    map[string]string
	defined map[string]bool
	texts   []string
}

func (r *reference) match(a, b *value, at string, identifies bool) bool {
	if a.kind != b.kind {
		return false
	}
	if a.scalar() {
		if identifies && a.kind == '"' {
			return r.bind(a.text, b.text)
		}
		r.texts = append(r.texts, a.text)
		return a.text == b.text
	}
	ka, kb := kept(a, at), kept(b, at)
	if len(ka) != len(kb) {
		return false
	}
	for i := range ka {
		if ka[i].name != kb[i].name {
			return false
		}
		r.texts = append(r.texts, ka[i].name)
		is := identifies
		if a.kind == '{' {
			is = ka[i].name == "id" && ka[i].kind == '"' || refers(ka[i].name) && ka[i].kind != '{'
			if ka[i].name == "id" {
				r.defined[ka[i].text] = true
			}
		}
		if !r.match(&ka[i].value, &kb[i].value, below(a, at, ka[i].name), is) {
			return false
		}
	}
	return true
}

// below says what stands in a member: a node, a node's slots, one slot, or anything else.
func below(v *value, at, name string) string {
	switch {
	case isNode(v, at) && name == "children":
		return "slots"
	case at == "slots" && v.kind == '{':
		return "slot"
	case at == "slot" && v.kind == '[':
		return "node"
	}
	return ""
}

func isNode(v *value, at string) bool {
	return at == "node" && v.kind == '{' && v.get("kind") != nil && v.get("kind").kind == '"'
}

// kept lists what counts, in an order that counts.
func kept(v *value, at string) []member {
	kids := slices.Clone(v.kids)
	if isNode(v, at) {
		kids = slices.DeleteFunc(kids, func(m member) bool {
			return m.scalar() && slices.Contains([]string{"title", "collapsed", "bgColor"}, m.name)
		})
		slices.SortFunc(kids, func(a, b member) int { return strings.Compare(a.name, b.name) })
	}
	return kids
}

func (r *reference) bind(a, b string) bool {
	to, ok := r.ids[a]
	from, taken := r.back[b]
	r.ids[a], r.back[b] = b, a
	return (!ok || to == b) && (!taken || from == a)
}

// renaming reports whether b is such a renaming of a.
func renaming(a, b *value) bool {
	r := reference{ids: map[string]string{}, back: map[string]string{}, defined: map[string]bool{}}
	if !r.match(a, b, "node", false) {
		return false
	}
	for from, to := range r.ids {
		if from == to {
			continue
		}
		if !r.defined[from] || slices.Contains([]string{"", "1", "unknown", "valueOf"}, from) {
			return false
		}
		for _, t := range r.texts {
			if t == from || t == to {
				return false
			}
		}
	}
	return true
}

func TestEqualKeysMeanThatOnePayloadIsARenamingOfTheOther(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom([]string{"id", "nodeId", "kind", "children", "title", "collapsed", "1", "a", "b", "x"})
		a, b := anyObject(rt, 4, word), ""
		if rapid.Bool().Draw(rt, "near") {
			b = mutate(rt, a)
		} else {
			b = anyObject(rt, 3, word)
		}
		va, err1 := parseObject([]byte(a))
		vb, err2 := parseObject([]byte(b))
		if err1 != nil || err2 != nil {
			rt.Skip()
		}
		if backtestKey(t, a) == backtestKey(t, b) && !renaming(&va, &vb) {
			rt.Fatalf("%s and %s share a key", a, b)
		}
	})
}

// mutate swaps or replaces strings in a JSON text.
func mutate(t *rapid.T, s string) string {
	words := []string{`"a"`, `"b"`, `"a-b"`, `"#0"`, `"=a"`, `"x"`, `"1"`, `"unknown"`}
	from, to := rapid.SampledFrom(words).Draw(t, "from"), rapid.SampledFrom(words).Draw(t, "to")
	switch rapid.IntRange(0, 2).Draw(t, "how") {
	case 0:
		return strings.Replace(s, from, to, 1)
	case 1:
		return strings.ReplaceAll(s, from, to)
	}
	return strings.NewReplacer(from, to, to, from).Replace(s)
}

func TestSpellingNeverMatters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := anyObject(rt, 3, rapid.StringN(0, 3, 6))
		b := jsontext.Value(respell(rt, a))
		if backtestKey(t, a) != backtestKey(t, string(b)) {
			rt.Fatalf("%s and %s mean the same", a, b)
		}
	})
}

// respell writes a JSON text anew: spaces, escapes.
func respell(t *rapid.T, s string) string {
	v, err := parseObject([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, &v)
}

func write(t *rapid.T, v *value) string {
	space := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space")
	switch v.kind {
	case '{', '[':
		var list []string
		for i := range v.kids {
			one := write(t, &v.kids[i].value)
			if v.kind == '{' {
				one = escaped(v.kids[i].name) + space + ":" + one
			}
			list = append(list, one)
		}
		return string(rune(v.kind)) + space + strings.Join(list, ","+space) + space + string(rune(closing(v.kind)))
	case '"':
		return escaped(v.text)
	case '0':
		if !strings.ContainsAny(v.text, ".eE") {
			return v.text + ".0" + "e0"
		}
	}
	return v.text
}

func escaped(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c > 0xffff {
			fmt.Fprintf(&b, `\u%04X\u%04x`, 0xd800+(c-0x10000)>>10, 0xdc00+(c-0x10000)&0x3ff)
		} else {
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return `"` + b.String() + `"`
}
