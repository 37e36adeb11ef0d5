package proxy

import "testing"

// Redis may lose who was told, and another replica come that knows nothing.
func TestForeignRunIsNewsAgainOnceItMayHaveBeenForgotten(t *testing.T) {
	f := newFills(nil, nil, "", 0)
	for i, want := range []bool{true, false, true, false} {
		if i == 2 {
			f.untold()
		}
		if got := f.hasForeign("b"); got != want || !f.isDoubtful("b", "CC") {
			t.Errorf("run %d is news: %v, want %v; doubtful %v, want true", i+1, got, want, f.isDoubtful("b", "CC"))
		}
	}
}
