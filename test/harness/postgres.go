package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a Postgres server of the lab's own.
type Postgres struct {
	*Process
	URL string // what CORRELATIONS_DATABASE_URL takes
}

// StartPostgres starts a Postgres with a data directory of its own that is not careful about power cuts.
// It refuses to run as root, who starts it as the user of Debian's package.
func (l *Lab) StartPostgres() (*Postgres, error) {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, fmt.Errorf("initdb is missing: run make setup (%w)", err)
	}
	dir, err := l.temp("postgres")
	if err != nil {
		return nil, err
	}
	who, err := l.unprivileged(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initialise := exec.Command(initdb, "--pgdata", data, "--username", "warmfront", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initialise.Dir, initialise.SysProcAttr = dir, &syscall.SysProcAttr{Credential: who}
	initialise.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	if out, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return retried(func() (*Postgres, error) {
		port, err := l.freePort()
		if err != nil {
			return nil, err
		}
		server := filepath.Join(filepath.Dir(initdb), "postgres")
		p, err := l.startAs(who, "postgres", nil, server, "-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=20")
		if err != nil {
			return nil, err
		}
		pg := &Postgres{p, "postgres://warmfront@" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/postgres?sslmode=disable"}
		return pg, p.ready(pg.ping)
	})
}

func (p *Postgres) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, p.URL)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// Stop ends the server without waiting for its clients to leave, as SIGTERM would.
func (p *Postgres) Stop() {
	_ = p.Signal(syscall.SIGINT)
	select {
	case <-p.Exited():
	case <-time.After(stopPatience):
	}
	p.Process.Stop()
}

// unprivileged hands dir to the user that a root's Postgres runs as; nil for anybody else's.
func (l *Lab) unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("run make setup: %w", err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		errors.Join(uidErr, gidErr, os.Chmod(l.dir, 0o711), os.Chown(dir, int(uid), int(gid)))
}

// postgresProgram finds a server program, which Debian keeps out of the PATH. The last one of several wins.
func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/opt/homebrew/opt/postgresql@*/bin/", "/usr/local/opt/postgresql@*/bin/"} {
		found, err := filepath.Glob(pattern + name)
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return slices.Max(found), nil
		}
	}
	return "", exec.ErrNotFound
}
