package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Env holds environment variables.
type Env map[string]string

// with is e with more on top.
func (e Env) with(more Env) Env {
	all := maps.Clone(e)
	maps.Copy(all, more)
	return all
}

// A Server is a process with an address.
type Server struct {
	*Process
	URL string // without a slash at the end
}

// generate makes the price files once; every stand-in copies them.
func (l *Lab) generate() error {
	l.making.Lock()
	defer l.making.Unlock()
	if _, err := os.Stat(l.prices); err == nil {
		return nil
	}
	script := filepath.Join(l.root, "test", "upstream", "generate-prices.mjs")
	generate := exec.Command("node", script, l.prices)
	generate.Env = append(os.Environ(), "HISTORY_DAYS="+strconv.Itoa(l.HistoryDays))
	out, err := generate.CombinedOutput()
	if err != nil {
		return fmt.Errorf("generating prices: %w\n%s", err, out)
	}
	return nil
}

// Prices is a directory of price files that no server writes to.
func (l *Lab) Prices() (dir string, err error) { return l.prices, l.generate() }

// StartUpstream starts the stand-in server and waits until it answers. PORT in env makes it take
// that port, DATA_DIR makes it take up what an earlier one left.
func (l *Lab) StartUpstream(env Env) (*Upstream, error) {
	if err := l.generate(); err != nil {
		return nil, err
	}
	data := env["DATA_DIR"]
	if data == "" {
		var err error
		if data, err = l.temp("upstream"); err != nil {
			return nil, err
		}
	}
	all := Env{"PORT": "0", "HOST": "127.0.0.1", "DATA_DIR": data, "PARQUET_DIR": l.prices}.with(env)
	p, err := l.start("upstream", all, "node", filepath.Join("test", "upstream", "server.mjs"))
	if err != nil {
		return nil, err
	}
	url, err := p.await("upstream listening on ")
	if err != nil {
		return nil, err
	}
	return &Upstream{Server: Server{p, strings.TrimSpace(url)}, DataDir: data}, nil
}

// StartRedis starts a Redis that keeps nothing on disk.
func (l *Lab) StartRedis() (*Redis, error) { return l.StartRedisAt(0) }

// StartRedisAt starts a Redis on the port; 0 is any.
func (l *Lab) StartRedisAt(fixed int) (*Redis, error) { return l.startRedis(fixed) }

// StartRedisFrom starts a Redis on the port from the snapshot that another has left in dir.
func (l *Lab) StartRedisFrom(dir string, port int) (*Redis, error) {
	return l.startRedis(port, "--dir", dir)
}

// StartRedisCluster starts a Redis that is a cluster of one node: commands over several slots fail.
func (l *Lab) StartRedisCluster() (*Redis, error) {
	bus, err := l.freePort() // the default is 10 000 above the port, which may not exist
	if err != nil {
		return nil, err
	}
	r, err := l.startRedis(0, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
	if err != nil {
		return nil, err
	}
	if answer, err := r.inline("CLUSTER ADDSLOTSRANGE 0 16383"); err != nil || answer != "+OK" {
		return nil, fmt.Errorf("handing out the slots: %q %w", answer, err)
	}
	return r, Until(patience, func() error {
		answer, err := r.inline("CLUSTER INFO")
		if err == nil && !strings.Contains(answer, "cluster_state:ok") {
			err = fmt.Errorf("the cluster said %q", answer)
		}
		return err
	})
}

func (l *Lab) startRedis(fixed int, more ...string) (*Redis, error) {
	dir, err := l.temp("redis")
	if err != nil {
		return nil, err
	}
	return retried(func() (*Redis, error) {
		port := fixed
		if port == 0 {
			if port, err = l.freePort(); err != nil {
				return nil, err
			}
		}
		args := []string{"redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", dir}
		p, err := l.start("redis", nil, append(args, more...)...)
		if err != nil {
			return nil, err
		}
		r := &Redis{Process: p, Port: port, Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		return r, p.ready(func() error { return r.ping() })
	})
}

// A Redis is a Redis server of the lab's own.
type Redis struct {
	*Process
	Port    int
	Address string
}

// URL is what REDIS_URL takes.
func (r *Redis) URL() string { return "redis://" + r.Address }

func (r *Redis) ping() error {
	answer, err := r.inline("PING")
	if err == nil && answer != "+PONG" {
		err = fmt.Errorf("redis said %q", answer)
	}
	return err
}

// inline sends one command and gives what came first of the answer.
func (r *Redis) inline(command string) (string, error) {
	c, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	answer := make([]byte, 1024)
	n, err := c.Read(answer)
	return strings.TrimSpace(string(answer[:n])), err
}

// StartWarmfront starts Warmfront in front of upstream and waits until it would cache an answer.
func (l *Lab) StartWarmfront(upstream string, env Env) (*Server, error) {
	w, err := l.LaunchWarmfront(upstream, env)
	if err != nil {
		return nil, err
	}
	if err := w.ready(func() error { return caching(w.URL) }); err != nil {
		return nil, err
	}
	return w, nil
}

// LaunchWarmfront starts Warmfront and waits until it lives, be the upstream there or not. PORT in env
// makes it take that port.
func (l *Lab) LaunchWarmfront(upstream string, env Env) (*Server, error) {
	return retried(func() (*Server, error) {
		port, err := l.freePort()
		if err != nil {
			return nil, err
		}
		all := Env{
			"UPSTREAM_URL": upstream, "PORT": strconv.Itoa(port), "LOG_FORMAT": "console",
			"DATA_DATE_INTERVAL": "200ms", "WARM": "false",
			"AUDIT_RATE": "0", // chance has no place in tests that count requests
		}.with(env)
		p, err := l.start("warmfront", all, l.binary)
		if err != nil {
			return nil, err
		}
		s := &Server{p, "http://127.0.0.1:" + all["PORT"]}
		return s, p.ready(func() error { _, err := readJSON(s.URL+"/_warmfront/healthz", nil); return err })
	})
}

// RunWarmfront runs Warmfront with exactly env, for starts that are to fail.
func (l *Lab) RunWarmfront(env Env, args ...string) (*Process, error) {
	return l.start("warmfront", env, append([]string{l.binary}, args...)...)
}

// Readiness is what /_warmfront/readyz tells.
type Readiness struct {
	Upstream    string  `json:"upstream"`
	Redis       string  `json:"redis"`
	RedisWhy    string  `json:"redisWhy"`
	DataDate    *string `json:"dataDate"`
	Provisional bool    `json:"provisional"`
	Admin       string  `json:"admin"`
	Why         string  `json:"why"`
	Remedy      string  `json:"remedy"`
}

// Ready asks a Warmfront how it is.
func Ready(url string) (status int, r Readiness, err error) {
	status, err = readJSON(url+"/_warmfront/readyz", &r)
	return status, r, err
}

// caching is nil once answers are cached: the data date is known, and so is whether the server gives
// everyone the same. The second is told by an intercepted request only, one that no test counts.
func caching(url string) error {
	status, r, err := Ready(url)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK || r.DataDate == nil:
		return fmt.Errorf("readyz said %d, data date unknown", status)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := Send(ctx, controlClient(), Request{Method: http.MethodGet, URL: url + "/api/candles/SPY?limit=64"})
	switch {
	case err != nil:
		return err
	case strings.Contains(a.Header.Get("Cache-Status"), "detail=access"):
		return errors.New("whether the server is public is unknown")
	}
	return nil
}

// ready waits until ok gives no error, unless the process ends before.
func (p *Process) ready(ok func() error) error {
	var ended error
	err := Until(patience, func() error {
		err := ok()
		if err == nil {
			return nil
		}
		if err = p.alive(err); errors.Is(err, errExited) {
			ended = err
			return nil
		}
		return err
	})
	if err = errors.Join(err, ended); err != nil {
		return fmt.Errorf("%s is not ready: %w\n%s", p.Name, err, p.Tail(20))
	}
	return nil
}

// retried starts something on a free port, again when somebody else was faster to take it.
func retried[T any](start func() (T, error)) (server T, err error) {
	for range 3 {
		if server, err = start(); err == nil || !errors.Is(err, errExited) {
			return server, err
		}
	}
	return server, err
}

var controlClient = sync.OnceValue(func() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
})

// readJSON asks for url and decodes what comes, whatever the status.
func readJSON(url string, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := controlClient().Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if into == nil {
		return res.StatusCode, nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return res.StatusCode, fmt.Errorf("%s gave no JSON: %w", url, err)
	}
	return res.StatusCode, nil
}
