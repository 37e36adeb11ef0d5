package upstream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"warmfront/proxy/board"
)

// The state machine of a route: what happens there, and whom a stored answer about bot X serves then. S is a success, R a
// refusal, each moving the stamp as the board does; callers are the addresses 1 and 2 and the credentials a and b.
func TestRouteIsPublicOnlyWhileASuccessWithoutCredentialsIsTheLastWord(t *testing.T) {
	who := map[byte]Who{'1': {"1", true}, '2': {"2", true}, 'a': {"a", false}, 'b': {"b", false}}
	for _, c := range []struct {
		events                string
		anonymous, credential bool
	}{
		{"", false, false},
		{"S1x", true, true},
		{"S1y", false, false},           // of another bot
		{"Sax", false, false},           // whose answer it is alone
		{"S1x R1", false, false},        // protected later
		{"S1x R2", false, false},        // another address
		{"S1x R2 S1x", false, false},    // which is still refused
		{"S1x R2 S1x S2x", true, true},  // and now let in
		{"S1x R2 S2y", false, false},    // let in, but X not proven since
		{"R1 S1x", true, true},          // open again
		{"R1 R2 S1x", false, false},     // for one
		{"R1 R2 S1x S2x", true, true},   // for both
		{"S1x Ra", false, false},        // ended by whoever is refused
		{"S1x Ra S1x", true, false},     // an account that is suspended: the server looks at credentials
		{"S1x Ra Sbx S1x", true, false}, // whoever else has some
		{"S1x Ra S1x Sax", true, true},  // no longer suspended
		{"S1x Ra Sax", false, false},    // that says nothing about those without
		{"S1x Ra Rb S1x Sax", true, false},
		{"S1x Ra R1 Sax S1y S1x", true, true},
		{"Ra S1y", false, false},
	} {
		b := board.New(nil, "", time.Hour, func(board.Subject) {}, zap.NewNop())
		s := newStance()
		for _, event := range strings.Fields(c.events) {
			w := who[event[1]]
			if event[0] == 'R' {
				s.refuse(w)
				b.Begin(context.Background(), board.Subject{Class: board.Access, Name: "route"}).End(true)
				continue
			}
			s.forgive(w)
			s.succeed(w, event[2:], b.Stamp("route"))
		}
		if got := s.serves("x", b.Stamp("route"), true); got != c.anonymous {
			t.Errorf("%q: serves callers without credentials %v, want %v", c.events, got, c.anonymous)
		}
		if got := s.serves("x", b.Stamp("route"), false); got != c.credential {
			t.Errorf("%q: serves callers with credentials %v, want %v", c.events, got, c.credential)
		}
	}
}

func TestRouteWithMoreRefusedThanAreKeptStaysClosed(t *testing.T) {
	b := board.New(nil, "", time.Hour, func(board.Subject) {}, zap.NewNop())
	s := newStance()
	for i := range maxRefused + 1 {
		s.refuse(Who{fmt.Sprint(i), true})
	}
	for i := range maxRefused + 1 {
		s.forgive(Who{fmt.Sprint(i), true})
	}
	if s.succeed(Who{"0", true}, "x", b.Stamp("route")) || s.serves("x", b.Stamp("route"), true) {
		t.Error("public, though one whose name was not kept is refused")
	}
}
