package oracle

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"warmfront/test/harness"
)

// lab is what all tests of the package run in.
var lab *harness.Lab

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var err error
		if lab, err = harness.NewLab("node", "redis-server"); err != nil {
			fmt.Fprintln(os.Stderr, "oracle:", err)
			return 1
		}
		defer lab.Close()
		return m.Run()
	}())
}

// number is an environment variable's, else the other.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return n
}

func usual() Plan {
	return Plan{Settings: quick(), Mix: everything(), Delay: 0.1, Calms: true, Workers: 6, Replicas: 2}
}

// TestOracleFindsNoWrongAnswer plays ORACLE_N random operations of ORACLE_SEED (else any seed).
func TestOracleFindsNoWrongAnswer(t *testing.T) {
	t.Parallel()
	findsNothing(t, usual(), 1500)
}

func TestOracleFindsNoWrongAnswerWithAnAdminsLogin(t *testing.T) {
	t.Parallel()
	p := usual()
	p.Admin, p.Fresh = true, true
	findsNothing(t, p, 1000)
}

func TestOracleFindsNoWrongAnswerWhenWritesGoAroundWarmfront(t *testing.T) {
	t.Parallel()
	p := usual()
	p.Direct, p.Revision = 0.4, 300*time.Millisecond
	findsNothing(t, p, 500)
}

// TestOracleTakesEveryAnswerOfTheServerItself asks the server and no Warmfront: an oracle that finds
// something wrong there is wrong itself.
func TestOracleTakesEveryAnswerOfTheServerItself(t *testing.T) {
	t.Parallel()
	p := usual()
	p.Replicas = 0
	findsNothing(t, p, 500)
}

func findsNothing(t *testing.T, p Plan, n uint64) {
	t.Helper()
	ops, seed, err := replay()
	if err != nil {
		t.Fatal(err)
	}
	if ops == nil {
		seed = number(t, "ORACLE_SEED", rand.Uint64N(1e9))
		ops = p.operations(seed, int(number(t, "ORACLE_N", n)))
	}
	judge(t, p, ops, seed)
}

func judge(t *testing.T, p Plan, ops []Op, seed uint64) {
	t.Helper()
	p.Workers = int(number(t, "ORACLE_WORKERS", uint64(p.Workers)))
	p.Survey = os.Getenv("ORACLE_SURVEY") != ""
	summary, wrong, err := play(lab, p, ops)
	for tries := 1; errors.Is(err, errNoServer) && tries < 3; tries++ {
		t.Logf("seed %d, once more: %v", seed, err)
		summary, wrong, err = play(lab, p, ops)
	}
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	t.Logf("seed %d: %s", seed, summary)
	if wrong == nil {
		return
	}
	if p.Survey {
		t.Fatal("wrong answers were found, see above")
	}
	t.Errorf("seed %d (ORACLE_SEED=%d plays it again): %s\n%s", seed, seed, wrong, wrong.Tail)
	t.Log(shrunk(lab, p, ops[:wrong.Op.N+1], wrong))
}
