package keying

import (
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

func TestTheCanonicalFormIsThatOfRFC8785(t *testing.T) {
	for in, want := range map[string]string{
		// Sections 3.2.2 and 3.2.3 of the RFC.
		`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`:                                        `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`: "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
	} {
		v, err := parseObject([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		v.sortAll()
		if got := string(v.append(nil)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTheCanonicalFormIsItsOwnAndTheLibrarys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := anyObject(rt, 4, rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\ue000", "\uffff", "𐀀", "\ud7ff", "a"})))
		v, err := parseObject([]byte(a))
		if err != nil {
			rt.Fatal(err)
		}
		v.sortAll()
		once := v.append(nil)
		library := jsontext.Value(a)
		if err := library.Canonicalize(); err != nil || string(library) != string(once) {
			rt.Fatalf("%s: got %s, the library has %s %v", a, once, library, err)
		}
		w, err := parseObject(once)
		if w.sortAll(); err != nil || string(w.append(nil)) != string(once) {
			rt.Fatalf("%s isn't canonical %v", once, err)
		}
	})
}

func TestNamesAreOrderedByUTF16CodeUnits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		chars := rapid.SampledFrom([]rune("a~\u007f\u0080\u07ff\u0800\ud7ff\ue000\uefff\uf000\uffff\U00010000\U0010ffff"))
		a, b := rapid.StringOfN(chars, 0, 3, -1).Draw(rt, "a"), rapid.StringOfN(chars, 0, 3, -1).Draw(rt, "b")
		want := slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		if got := compareUTF16(a, b); got != want {
			rt.Fatalf("%q %q: %d, want %d", a, b, got, want)
		}
	})
}
