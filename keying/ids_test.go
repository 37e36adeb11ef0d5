package keying

import (
	"fmt"
	"testing"
)

// exits is a strategy of two altExit nodes whose state the engine keeps by their ids; "" for a node without one.
func exits(first, second string) string {
	node := func(id, slot string) string {
		if id != "" {
			id = `"id":` + id + `,`
		}
		return `{` + id + `"kind":"altExit","entryConditions":[],"exitConditions":[],"children":{"then":[{"id":"` + slot + `","kind":"position","positions":["QQQ"]}]}}`
	}
	return `{"id":"r","kind":"basic","children":{"next":[` + node(first, "in-then-1") + `,` + node(second, "in-then-2") + `]}}`
}

func TestIDsThatMeanSomethingToJavaScriptAreKeyedAsSpelled(t *testing.T) {
	plain := exits(`"node-1"`, `"node-2"`)
	for _, id := range []string{
		"constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString",
		"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "unknown", "undefined", "null", "true", "NaN",
		"1", "42", "-1", "0", "007", "4294967295", "1e21", "1e-7", "1.5", "a:branch", "a b", "a,b", "é", "[object Object]", "#0",
	} {
		if backtestKey(t, plain) == backtestKey(t, exits(quoted(id), `"node-2"`)) {
			t.Errorf("an id in the place of node-1 that is spelled %q shares its key", id)
		}
		if backtestKey(t, exits(quoted(id), `"node-2"`)) != backtestKey(t, exits(quoted(id), `"node-3"`)) {
			t.Errorf("beside %q, ordinary ids are no longer renamed", id)
		}
	}
}

func TestIDsThatJavaScriptTakesForOneAreKeyedApartFromThoseItTellsApart(t *testing.T) {
	for _, c := range []struct{ name, a, b string }{
		{"no id beside one called unknown", exits("", `"unknown"`), exits("", `"node-1"`)},
		{"no id twice", exits("", ""), exits("", `"node-1"`)},
		{"an empty id", exits(`""`, `"unknown"`), exits(`""`, `"node-1"`)},
		{"null", exits(`null`, `"unknown"`), exits(`null`, `"node-1"`)},
		{"a number beside its text", exits(`1`, `"1"`), exits(`1`, `"2"`)},
		{"a number for a text", exits(`1`, `"node-2"`), exits(`"1"`, `"node-2"`)},
		{"another number", exits(`1`, `1`), exits(`1`, `2`)},
		{"true beside its text", exits(`true`, `"true"`), exits(`true`, `"node-1"`)},
		{"an array beside its text", exits(`["a","b"]`, `"a,b"`), exits(`["a","b"]`, `"node-1"`)},
		{"an array of one beside its text", exits(`["node-1"]`, `"node-1"`), exits(`["node-1"]`, `"node-2"`)},
		{"an object", exits(`{}`, `"node-1"`), exits(`{}`, `"node-2"`)},
		{"another array", exits(`["a"]`, `"a"`), exits(`["b"]`, `"a"`)},
	} {
		if backtestKey(t, c.a) == backtestKey(t, c.b) {
			t.Errorf("%s: %s and %s share a key", c.name, c.a, c.b)
		}
	}
}

func TestOrdinaryIDsAreRenamed(t *testing.T) {
	for _, id := range []string{
		"a", "e", "s1", "node-1", "node-1736900000000-0-k3j9x2", "6b1f0b1e-1b1a-4c1e-8f7d-2d1c0a9b8c7d", "V1StGXR8_Z5jdHi6B-myT", "ci_abc123", "A", "Unknown", "prototype", "1a",
	} {
		if backtestKey(t, exits(quoted(id), `"x2"`)) != backtestKey(t, exits(`"x1"`, `"x2"`)) {
			t.Errorf("%q and x1 are names like any other, but make two keys", id)
		}
	}
}

func TestATextThatTheEngineNeverReadsPinsNoID(t *testing.T) {
	tree := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"kind":"basic","title":"copy of node-1","callRefId":%q,"children":{}}`, id, id)
	}
	if backtestKey(t, tree("node-1")) != backtestKey(t, tree("node-2")) {
		t.Error("the title that mentions an id makes two keys")
	}
}

func TestTooManyWordsInIDsAreKeyedAsSpelled(t *testing.T) {
	tree := func(last string) string {
		b := []byte(`{"a":[`)
		for i := range maxWords / 64 {
			b = fmt.Appendf(b, `{"id":"%08d`, i)
			for range 32 {
				b = append(b, "-a"...)
			}
			b = append(b, `"},`...)
		}
		return string(b) + `{"id":"` + last + `"}]}`
	}
	if backtestKey(t, tree("x")) == backtestKey(t, tree("y")) {
		t.Error("ids are renamed whatever that costs")
	}
}
