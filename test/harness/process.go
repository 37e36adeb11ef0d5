package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long SIGTERM may take before SIGKILL follows.
const stopPatience = 10 * time.Second

// A Process is a child with everything it printed.
type Process struct {
	Name   string
	cmd    *exec.Cmd
	stdout output
	stderr output
	exited chan struct{}
}

// output is a buffer that may be read while it is written to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends to the buffer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs argv with env and nothing else of this process's environment but the PATH and HOME. The
// child has a process group of its own, so that Ctrl-C reaches us first and we end it in order.
func (l *Lab) start(name string, env map[string]string, argv ...string) (*Process, error) {
	return l.startAs(nil, name, env, argv...)
}

// startAs starts a process as another user, or as the same one if who is nil.
func (l *Lab) startAs(who *syscall.Credential, name string, env map[string]string, argv ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Dir = l.root
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who}
	p.cmd.WaitDelay = time.Second
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has the outcome
		close(p.exited)
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = append(l.running, p)
	return p, nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode waits for the end and gives the exit code; -1 when a signal ended the process.
func (p *Process) ExitCode(limit time.Duration) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %v", p.Name, limit)
	}
}

// Signal sends sig.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop asks the process to end, and kills it when it does not.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // one that was stopped can't hear SIGTERM
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopPatience):
		p.Kill()
	}
}

// Output is everything that was printed so far.
func (p *Process) Output() string { return p.stdout.String() + p.stderr.String() }

// Stderr is what was printed on standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Tail is the end of the output, for a failure's message.
func (p *Process) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(p.Output(), "\n"), "\n")
	return fmt.Sprintf("--- %s (pid %d), last %d lines\n%s\n", p.Name, p.Pid(), lines,
		strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// await waits for a line that begins with prefix and gives the rest of it.
func (p *Process) await(prefix string) (rest string, err error) {
	err = Until(patience, func() error {
		lines := bufio.NewScanner(strings.NewReader(p.Output()))
		for lines.Scan() {
			var ok bool
			if rest, ok = strings.CutPrefix(lines.Text(), prefix); ok {
				return nil
			}
		}
		return p.alive(fmt.Errorf("%s has not printed %q", p.Name, prefix))
	})
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, p.Tail(20))
	}
	return rest, nil
}

var errExited = errors.New("it has exited")

// alive is err, or that the process has ended, so that waiting is pointless.
func (p *Process) alive(err error) error {
	select {
	case <-p.exited:
		return fmt.Errorf("%w: %w (exit code %d)", errExited, err, p.cmd.ProcessState.ExitCode())
	default:
		return err
	}
}

// PeakMemory is the most resident memory that the process ever had, in bytes. It is known on Linux
// only; elsewhere ok is false.
func (p *Process) PeakMemory() (bytes int64, ok bool, err error) {
	if runtime.GOOS != "linux" {
		return 0, false, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, false, err
	}
	fields := strings.Fields(string(status))
	at := slices.Index(fields, "VmHWM:")
	if at < 0 {
		return 0, false, fmt.Errorf("no VmHWM in the status of %s", p.Name)
	}
	kib, err := strconv.ParseInt(fields[at+1], 10, 64)
	return kib << 10, err == nil, err
}
