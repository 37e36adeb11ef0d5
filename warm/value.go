package warm

import (
	"math"
	"time"
)

const (
	// halfLife is for how long a use counts until it counts half: a week is remembered, a strategy
	// that was worked on all day a fortnight ago is not in the way of today's.
	halfLife = 3 * 24 * time.Hour
	// journalTTL is for how long a request is remembered that nobody repeats: bodies are people's
	// property (contract, trap 14).
	journalTTL = 30 * 24 * time.Hour
)

// A weight is the base-2 logarithm of a number of uses, each of which has lost half per halfLife since.
// It is kept relative to the epoch, so that it stands still while nobody uses the request, and weights
// of different times compare.
type weight float64

// used is the weight of uses at t.
func used(uses int64, t time.Time) weight {
	return weight(math.Log2(float64(uses)) + age(t))
}

// and is the weight of both.
func (w weight) and(o weight) weight {
	if w < o {
		w, o = o, w
	}
	return w + weight(math.Log2(1+math.Exp2(float64(o-w))))
}

// times multiplies by the milliseconds that a use spares the server: the score entries are ranked by.
func (w weight) times(took time.Duration) float64 { return float64(w) + math.Log2(millis(took)) }

// worth is a score as it is at t, in milliseconds of the server's time.
func worth(score float64, t time.Time) float64 { return math.Exp2(score - age(t)) }

func age(t time.Time) float64 { return float64(t.UnixMilli()) / float64(halfLife.Milliseconds()) }

// millis is at least one: everything costs something.
func millis(d time.Duration) float64 { return max(1, float64(d.Microseconds())/1000) }
