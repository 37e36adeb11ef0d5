// Package harness starts what Warmfront's end-to-end tests and its demo need, as processes of their
// own on free ports: the stand-in server, a Redis, and Warmfronts built from this checkout. It waits
// by asking, never by sleeping for a fixed time, and keeps everything that the processes print.
package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience is how long anything that should happen soon may take on a slow machine.
const patience = 90 * time.Second

// ShortHistory is for tests that are not about the size of answers: a backtest over it takes the stand-in some 40 ms, a tenth
// of what it takes over the whole history.
const ShortHistory = 500

// A Lab is a built Warmfront, a set of price files, and a temporary directory. Every process started
// from it is ended by Close at the latest.
type Lab struct {
	// HistoryDays is how many trading days the price files cover; 0: since 2011. It counts until the first server starts.
	HistoryDays int

	root, dir string
	binary    string
	prices    string
	mu        sync.Mutex // of running and ports
	running   []*Process
	ports     map[int]bool // handed out
	making    sync.Mutex   // of prices: held while they are generated
}

// NewLab finds the checkout around the working directory and builds Warmfront. The programs are those
// that will be needed; an error says what is missing and what to do about it.
func NewLab(programs ...string) (*Lab, error) {
	l, err := NewServers(programs...)
	if err != nil {
		return nil, err
	}
	if err := l.Build(""); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Build builds Warmfront again, with build tags.
func (l *Lab) Build(tags string) error {
	build := exec.Command("go", "build", "-trimpath", "-tags", tags, "-o", l.binary, ".")
	build.Dir, build.Env = l.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building warmfront: %w\n%s", err, out)
	}
	return nil
}

// NewServers gives a lab without a Warmfront, for a package's own tests against real servers.
func NewServers(programs ...string) (*Lab, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	if err := equipped(root, programs); err != nil {
		return nil, err
	}
	return newLab(root)
}

// NewRedisLab is a lab for tests that need nothing but a Redis: it builds nothing.
func NewRedisLab() (*Lab, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	if err := present([]string{"redis-server"}); err != nil {
		return nil, err
	}
	return newLab(root)
}

func newLab(root string) (*Lab, error) {
	dir, err := os.MkdirTemp("", "warmfront-lab-")
	if err != nil {
		return nil, err
	}
	return &Lab{ports: map[int]bool{}, root: root, dir: dir, binary: filepath.Join(dir, "warmfront"), prices: filepath.Join(dir, "prices")}, nil
}

// Close ends what still runs, newest first, and removes the temporary directory.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.running) - 1; i >= 0; i-- {
		l.running[i].Stop()
	}
	return os.RemoveAll(l.dir)
}

// checkout is the directory above the working directory that holds the module.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if mod, err := os.ReadFile(filepath.Join(at, "go.mod")); err == nil && strings.HasPrefix(string(mod), "module warmfront") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside a checkout of warmfront", dir)
		}
	}
}

// equipped reports what make setup would have installed. Nothing is ever skipped for the lack of it.
func equipped(root string, programs []string) error {
	if err := present(programs); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "test", "upstream", "node_modules", "express")); err != nil {
		return errors.New("test/upstream/node_modules is missing: run make setup")
	}
	return nil
}

func present(programs []string) error {
	for _, program := range programs {
		find := exec.LookPath
		if program == "postgres" {
			find = postgresProgram
		}
		if _, err := find(program); err != nil {
			return fmt.Errorf("%s is missing: run make setup", program)
		}
	}
	return nil
}

// temp makes a directory that Close removes.
func (l *Lab) temp(name string) (string, error) { return os.MkdirTemp(l.dir, name+"-") }

// Ports that are handed out lie below those that systems give to outgoing connections (RFC 6335, section 6; Linux begins at
// 32768), so that no client of another test takes one before its server does.
const firstPort, lastPort = 15_000, 32_000

// freePort is a TCP port that nobody listens on, and that this lab has not handed out before. Another process may take
// it before it is used, so who uses it tries again with another.
func (l *Lab) freePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l.mu.Lock()
		taken := l.ports[port]
		l.ports[port] = true
		l.mu.Unlock()
		if taken {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.New("no free port was found in 100 tries")
}

// Until asks again and again until ok gives no error. When that takes longer than limit, the last
// error is returned.
func Until(limit time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-time.After(wait):
		}
	}
}
