package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"warmfront/test/harness"
)

// shrinkPatience is how long a smaller list of operations is looked for.
const shrinkPatience = 90 * time.Second

// shrunk is the smallest list of operations found that is still answered wrong, with what was wrong in
// the end. Workers run at once, so that a list may fail only sometimes: each is tried twice.
// Only a list that fails for the same reason counts.
func shrunk(lab *harness.Lab, p Plan, ops []Op, wrong *Wrong) string {
	until := time.Now().Add(shrinkPatience)
	plays := 0
	fails := func(some []Op) bool {
		for range 2 {
			if time.Now().After(until) {
				return false
			}
			plays++
			_, w, err := play(lab, p, renumbered(some))
			if err == nil && w != nil && w.reason() == wrong.reason() {
				wrong, ops = w, some[:w.Op.N+1]
				return true
			}
		}
		return false
	}
	// Most need only what came just before: the ends are tried first, then every part is left out in turn.
	for size := 20; size < len(ops); size *= 3 {
		if fails(ops[len(ops)-size:]) {
			break
		}
	}
	for parts := 2; len(ops) > 1 && time.Now().Before(until); {
		size := max(1, len(ops)/parts)
		reduced := false
		for at := 0; at < len(ops) && !reduced; at += size {
			reduced = fails(without(ops, at, min(at+size, len(ops))))
		}
		switch {
		case reduced:
			parts = max(2, parts-1)
		case size == 1:
			until = time.Time{}
		default:
			parts *= 2
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "after %d more plays, %d operations remain:\n", plays, len(ops))
	for _, op := range renumbered(ops) {
		line, _ := json.Marshal(op)
		fmt.Fprintf(&b, "%s\n", line)
	}
	fmt.Fprintf(&b, "put these lines into a file, ORACLE_REPLAY=<file> plays it. What was wrong:\n%s", wrong)
	return b.String()
}

func without(ops []Op, from, to int) []Op {
	return append(append([]Op{}, ops[:from]...), ops[to:]...)
}

func renumbered(ops []Op) []Op {
	again := append([]Op{}, ops...)
	for i := range again {
		again[i].N = i
	}
	return again
}

// replay is what ORACLE_REPLAY holds: one operation a line. Without it there are none.
func replay() (ops []Op, seed uint64, err error) {
	path := os.Getenv("ORACLE_REPLAY")
	if path == "" {
		return nil, 0, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var op Op
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, 0, fmt.Errorf("reading %s: %w", path, err)
		}
		ops = append(ops, op)
	}
	return renumbered(ops), 0, nil
}
