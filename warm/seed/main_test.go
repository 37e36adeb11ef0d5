package seed

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"warmfront/test/harness"
)

// The servers that these tests write to are real ones; each test has a Redis of its own.
var lab *harness.Lab

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if lab, err = harness.NewServers("redis-server", "postgres"); err != nil {
		fmt.Fprintln(os.Stderr, "seed tests:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = lab.Close()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "seed tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
