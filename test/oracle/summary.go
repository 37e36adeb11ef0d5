package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"warmfront/test/harness"
)

// Summary is what a run came to.
type Summary struct {
	Ops, Checked int
	Took         time.Duration
	Wrong        map[string]int // by what was wrong

	mu     *sync.Mutex
	counts map[string]int
}

func newSummary() Summary { return Summary{mu: new(sync.Mutex), counts: map[string]int{}} }

func (s *Summary) count(what ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range what {
		s.counts[w]++
	}
}

func (s *Summary) unanswered(Op, error) { s.count("no answer") }

func (s *Summary) answered(op Op, a *harness.Answer) {
	if a.Status/100 != 2 {
		s.count(fmt.Sprint("status ", a.Status))
	}
	how := a.Header.Get("X-Cache")
	if !op.Check || how == "" {
		return
	}
	if how == "HIT" {
		how += " " + a.Header.Get("X-Cache-Tier")
	}
	status := a.Header.Get("Cache-Status")
	kept := "not kept"
	switch {
	case strings.Contains(status, "provisional"):
		kept = "provisional"
	case strings.Contains(status, "hit") || strings.Contains(status, "stored"):
		kept = "for long"
	}
	if how == "PASS" {
		_, kept, _ = strings.Cut(status, "detail=")
	}
	s.count(how + ", " + kept)
}

// String is a table of what was counted.
func (s *Summary) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations in %v (%.0f/s), %d answers checked, %d wrong", s.Ops, s.Took.Round(time.Millisecond),
		float64(s.Ops)/s.Took.Seconds(), s.Checked, total(s.Wrong))
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&b, "\n  %6d  %s", s.counts[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(s.Wrong)) {
		fmt.Fprintf(&b, "\n  %6d  WRONG %s", s.Wrong[what], what)
	}
	return b.String()
}

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
