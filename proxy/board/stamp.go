package board

import "fmt"

// A Stamp names the last notice about a route's access in a way that is the same on all replicas: what was true under it
// is true for as long as it is the stamp, on whichever replica. The zero Stamp is none.
type Stamp struct {
	life   string // in which the notice was counted
	number int64
	away   uint64 // not 0: a notice of ours that Redis has yet to take
}

// unnoticed is the stamp of a route about which there never was a notice. It outlives what Redis loses.
const unnoticed = "-"

// String spells a stamp for Redis.
func (s Stamp) String() string {
	if s == (Stamp{}) {
		return ""
	}
	return fmt.Sprintf("%s %d %d", s.life, s.number, s.away)
}

// Stamp gives the stamp of a route's access; none while a notice about it is on its way.
func (b *Board) Stamp(route string) Stamp {
	s := Subject{Access, route}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := max(b.all[Access], b.marks[s])
	switch {
	case b.writing(s):
		return Stamp{}
	case b.client != nil && (b.unsaid[saying{s, ""}] || b.unsaid[saying{Subject{Class: Access}, ""}]):
		return Stamp{life: b.id, away: last}
	case b.client == nil && last > 0:
		return Stamp{life: b.id, number: int64(last)}
	case b.numbers[s] != Stamp{}:
		return b.numbers[s]
	}
	return Stamp{life: unnoticed}
}

// numbered notes the number of a notice. The caller holds mu.
func (b *Board) numbered(s Subject, n int64) {
	if known := b.numbers[s]; s.Class == Access && (known.life != b.life || known.number < n) {
		b.numbers[s] = Stamp{life: b.life, number: n}
	}
}
