package keying

import "hash/maphash"

// findMentions calls found for each of ids that is mentioned in one of texts, with its number. Most ids are not: those
// whose last word is in no text aren't looked for any further.
func findMentions(ids, texts []string, found func(n int)) {
	seed := maphash.MakeSeed()
	var seen [1 << 10]uint64 // bits of the hashes of words
	for _, t := range texts {
		for word := ""; t != ""; {
			word, t = cutWord(t)
			h := maphash.String(seed, word)
			seen[h>>54] |= 1 << (h & 63)
		}
	}
	var likely []string
	var numbers []int
	for n, id := range ids {
		if h := maphash.String(seed, lastWord(id)); seen[h>>54]&(1<<(h&63)) != 0 {
			likely, numbers = append(likely, id), append(numbers, n)
		}
	}
	finder := newFinder(likely)
	for _, t := range texts {
		finder.find(t, func(n int) { found(numbers[n]) })
	}
}

// A finder looks for texts inside others, in time linear in all of them whatever they are: an automaton of Aho
// and Corasick over words. A word is a run of letters and digits, or one other byte; a text is mentioned where
// its words stand in a row: "node-1" in "branch:node-1-2", not in "xnode-1".
type finder struct {
	shortest int // of the texts looked for
	left     int // how many were not found yet

	words map[string]int32 // numbered from 1
	bytes [256]int32       // words of one byte
	edges map[edge]int32   // states, 0 being the one before any word
	fail  []int32          // by state: the longest other state that ends alike
	ends  []int32          // by state: which text ends there, -1 for none
	next  []int32          // by state: where to look for the longest unfound text that ends there; itself when it's here
}

type edge struct{ state, word int32 }

// newFinder looks for texts, which differ and are not empty.
func newFinder(texts []string) *finder {
	f := &finder{left: len(texts), words: map[string]int32{}, edges: map[edge]int32{}, fail: []int32{0}, ends: []int32{-1}}
	grown := [][]edge{} // by depth: the edges to states there
	for n, t := range texts {
		if f.shortest == 0 || len(t) < f.shortest {
			f.shortest = len(t)
		}
		state := int32(0)
		for depth := 0; t != ""; depth++ {
			var word string
			word, t = cutWord(t)
			e := edge{state, f.number(word)}
			to, ok := f.edges[e]
			if !ok {
				to = int32(len(f.ends))
				f.edges[e] = to
				f.ends, f.fail = append(f.ends, -1), append(f.fail, 0)
				if depth == len(grown) {
					grown = append(grown, nil)
				}
				grown[depth] = append(grown[depth], e)
			}
			state = to
		}
		f.ends[state] = int32(n)
	}
	f.next = make([]int32, len(f.ends))
	for depth, edges := range grown {
		for _, e := range edges {
			to := f.edges[e]
			if depth > 0 {
				f.fail[to] = f.step(f.fail[e.state], e.word)
			}
			f.next[to] = f.fail[to]
			if f.ends[to] >= 0 {
				f.next[to] = to
			}
		}
	}
	return f
}

// number numbers a word.
func (f *finder) number(word string) int32 {
	n := f.word(word)
	if n == 0 {
		n = int32(len(f.words)) + 1
		f.words[word] = n
		if len(word) == 1 {
			f.bytes[word[0]] = n
		}
	}
	return n
}

func (f *finder) word(word string) int32 {
	if len(word) == 1 {
		return f.bytes[word[0]]
	}
	return f.words[word]
}

func (f *finder) step(state, word int32) int32 {
	for {
		if to, ok := f.edges[edge{state, word}]; ok {
			return to
		}
		if state == 0 {
			return 0
		}
		state = f.fail[state]
	}
}

// find calls found once for each text mentioned in t that was not found before, with its number.
func (f *finder) find(t string, found func(n int)) {
	if f.left == 0 || len(t) < f.shortest {
		return
	}
	state := int32(0)
	for t != "" {
		var word string
		word, t = cutWord(t)
		n := f.word(word)
		if n == 0 {
			state = 0
			continue
		}
		state = f.step(state, n)
		for s := f.unfound(state); s != 0; s = f.unfound(s) {
			found(int(f.ends[s]))
			f.left--
			f.next[s] = f.fail[s]
		}
	}
}

// unfound gives the state of the longest unfound text that ends at state, 0 for none, and shortens the way to it.
func (f *finder) unfound(state int32) int32 {
	for f.next[state] != state {
		f.next[state] = f.next[f.next[state]]
		state = f.next[state]
	}
	return state
}

// cutWord splits off the first word.
func cutWord(t string) (word, rest string) {
	n := 1
	if alphanumeric(t[0]) {
		for n < len(t) && alphanumeric(t[n]) {
			n++
		}
	}
	return t[:n], t[n:]
}

func lastWord(t string) string {
	from := len(t) - 1
	if alphanumeric(t[from]) {
		for from > 0 && alphanumeric(t[from-1]) {
			from--
		}
	}
	return t[from:]
}
