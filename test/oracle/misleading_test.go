package oracle

import (
	"net/http"
	"testing"
)

// Requests that mislead whoever reads them in another way than the server does.

// lookalikes are strategies that a cache could take for one, asked for one after the other.
func lookalikes(some ...int) (ops []Op) {
	for range 2 {
		for _, spelling := range some {
			ops = append(ops, adhocOf(len(strategies)+spelling))
		}
	}
	return renumbered(ops)
}

// unreadBody: the server does not read a body whose type it does not understand, and answers the defaults.
func unreadBody() (ops []Op) {
	for _, more := range []string{"", "\tcharset=utf-8", "\nConnection: close, Content-Type"} {
		ops = append(ops, costly(unread+more), costly(""))
	}
	plain := "Content-Type: application/json\nConnection: close, Content-Type"
	return renumbered(append(ops, editOf(0, 0, 1), costly(plain), costly("")))
}

// costly is a run with other costs than the default, under that header; without one it is read.
func costly(header string) Op {
	op := runOf(0, 0, "CC")
	op.Body = map[string]any{"costBps": 50}
	op.Header = header
	return op
}

// hiddenOrigin: a request that keeps its Origin from the server teaches nothing of that Origin.
func hiddenOrigin() []Op {
	const origin = "Origin: http://app.example"
	hidden, shown := runOf(0, 1, "CC"), runOf(0, 1, "CC")
	hidden.Header, shown.Header = origin+"\nConnection: close, Origin", origin
	return renumbered([]Op{hidden, shown, shown})
}

// waitingList: what reads like a look at its length deletes bots.
func waitingList() []Op {
	stats := Op{Kind: "waitlist", Replica: 1, Method: http.MethodGet, Path: "/api/waitlist/stats"}
	return renumbered([]Op{runOf(0, 0, "CC"), runOf(0, 0, "CC"), optimizeOf(0, 0, 1), stats, runOf(0, 0, "CC"), optimizeOf(0, 0, 1)})
}

func TestStrategiesThatTheEngineTellsApartAreNeverTakenForOne(t *testing.T) {
	t.Parallel()
	var all []int
	for spelling := range spellings {
		all = append(all, spelling)
	}
	once(t, usual(), 1, lookalikes(all...)...)
}

func TestWhatTheServerDoesNotReadIsNotKeyed(t *testing.T) {
	t.Parallel()
	once(t, usual(), 1, append(unreadBody(), hiddenOrigin()...)...)
}

func TestWaitingListForgetsBots(t *testing.T) {
	t.Parallel()
	once(t, usual(), 1, waitingList()...)
}
