package keying

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// mentioned is the rule as plainly as can be.
func mentioned(id, in string) bool {
	for from := 0; from+len(id) <= len(in); from++ {
		to := from + len(id)
		if in[from:to] != id || from > 0 && alphanumeric(in[from-1]) && alphanumeric(in[from]) || to < len(in) && alphanumeric(in[to-1]) && alphanumeric(in[to]) {
			continue
		}
		return true
	}
	return false
}

func TestAFinderFindsWhatIsMentionedAndNothingElse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("ab-_é")), 1, 6, -1)
		ids := rapid.SliceOfNDistinct(word, 0, 8, rapid.ID[string]).Draw(rt, "ids")
		texts := rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune("ab-_é")), 0, 20, -1), 0, 5).Draw(rt, "texts")
		found := make([]int, len(ids))
		f := newFinder(ids)
		for _, text := range texts {
			f.find(text, func(n int) { found[n]++ })
		}
		for n, id := range ids {
			want := 0
			if slices.ContainsFunc(texts, func(text string) bool { return mentioned(id, text) }) {
				want = 1
			}
			if found[n] != want {
				rt.Fatalf("%q in %q: found %d times, want %d", id, texts, found[n], want)
			}
		}
		findMentions(ids, texts, func(n int) { found[n]-- })
		if slices.ContainsFunc(found, func(n int) bool { return n != 0 }) {
			rt.Fatalf("%q in %q: findMentions tells something else", ids, texts)
		}
	})
}

// costly are strategies of about n bytes that make the work on them as hard as it can be.
func costly(n int) map[string]string {
	many := func(n int, id func(i int) string) string {
		var list []string
		for i := range n {
			list = append(list, `{"id":`+quoted(id(i))+`}`)
		}
		return strings.Join(list, ",")
	}
	beside := func(ids, text string) string { return `{"ids":[` + ids + `],"text":` + quoted(text) + `}` }
	return map[string]string{
		"128 lengths beside a long text":     beside(many(128, func(i int) string { return strings.Repeat("-", i) + "x" }), strings.Repeat("-", n)),
		"ids that are ends of each other":    beside(many(60, func(i int) string { return strings.Repeat("a-", i) + "b" }), strings.Repeat("a-", n/2)),
		"ids that are all in the text":       beside(many(60, func(i int) string { return strings.Repeat("a-", i) + "a" }), strings.Repeat("a-", n/2)),
		"many ids beside texts that are ids": beside(many(n/50, func(i int) string { return fmt.Sprintf("node-%d-x", i) }), strings.Repeat("node-1-y ", n/15)),
		"many short texts":                   `{"id":"a-b","t":[` + strings.TrimSuffix(strings.Repeat(`"a-a-b",`, n/10), ",") + `]}`,
		"deep":                               `{"kind":"basic","id":"a","x":` + nested(2000) + `}`,
		"deep nodes":                         strings.Repeat(`{"kind":"basic","id":"a","children":{"next":[`, 1000) + strings.Repeat(`]}}`, 1000),
		"many names":                         `{"kind":"basic","x":{` + names(n/10) + `}}`,
		"many indices":                       `{"kind":"basic","x":{` + indices(n/10) + `}}`,
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d":1,`, n-i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func indices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":1,`, n-i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func BenchmarkCostlyBodies(b *testing.B) {
	r := route(b, "backtest")
	for name, payload := range costly(1 << 20) {
		body := []byte(`{"payload":` + quoted(payload) + `}`)
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := r.Parse("", "", body, ByOrder); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCostlyBodiesAreKeyed(t *testing.T) {
	for name, payload := range costly(1 << 15) {
		t.Run(name, func(t *testing.T) {
			if backtestKey(t, payload) == "" {
				t.Error("no key")
			}
		})
	}
}
