// Package cli is the command "warmfront warm": it asks a running Warmfront to warm, and shows how far
// it is.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"warmfront/warm"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // it can't be reached, refuses, was stopped, or warmed nothing of what there was
	exitUsage  = 2
)

const (
	// askEvery is how often progress is asked for.
	askEvery = 500 * time.Millisecond
	// patience bounds one answer, and how long a Warmfront that restarts may be gone.
	patience = 15 * time.Second
)

const usage = `usage: warmfront warm [--wait] [--stop]

Asks a running Warmfront to warm its cache now.
  --wait  show progress until the run has ended; Ctrl-C asks it to stop
  --stop  ask the run under way to stop

Environment: WARMFRONT_URL (default http://127.0.0.1:$PORT), ADMIN_TOKEN.
Exit codes: 0 done, 1 failed or stopped, 2 wrong usage.
`

// Run is the command with args, what follows "warm". It ends early when ctx does.
func Run(ctx context.Context, args []string, environ map[string]string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("warm", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	wait := flags.Bool("wait", false, "")
	stop := flags.Bool("stop", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "warmfront warm: %v\n%s", err, usage)
		return exitUsage
	case flags.NArg() > 0 || *wait && *stop:
		fmt.Fprintf(stderr, "warmfront warm: it takes --wait or --stop, not %q\n%s", args, usage)
		return exitUsage
	}
	c, err := newClient(environ)
	if err != nil {
		fmt.Fprintf(stderr, "warmfront warm: %v\n", err)
		return exitUsage
	}
	defer c.http.CloseIdleConnections()
	if err := c.command(ctx, *wait, *stop, newView(stdout)); err != nil {
		fmt.Fprintf(stderr, "warmfront warm: %v\n", err)
		return exitFailed
	}
	return exitDone
}

type client struct {
	url   string
	token string
	http  *http.Client
}

func newClient(environ map[string]string) (*client, error) {
	base := environ["WARMFRONT_URL"]
	if base == "" {
		port := environ["PORT"]
		if port == "" {
			port = "8080"
		}
		base = "http://" + net.JoinHostPort("127.0.0.1", port)
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("WARMFRONT_URL takes the address of a running Warmfront, e.g. http://127.0.0.1:8080")
	}
	token := environ["ADMIN_TOKEN"]
	if token == "" {
		return nil, errors.New("ADMIN_TOKEN is empty: it takes the token that the running Warmfront has")
	}
	return &client{url: strings.TrimSuffix(base, "/") + "/_warmfront/warm", token: token, http: &http.Client{
		Timeout:       patience,
		Transport:     http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *client) command(ctx context.Context, wait, stop bool, v view) error {
	if stop {
		p, err := c.call(ctx, http.MethodDelete)
		if err == nil {
			v.line(stopped(p))
		}
		return err
	}
	before, err := c.call(ctx, http.MethodGet)
	if err != nil {
		return err
	}
	p, err := c.call(ctx, http.MethodPost)
	if err != nil {
		return err
	}
	if !wait {
		v.line("started; warmfront warm --wait shows its progress")
		return nil
	}
	return c.follow(ctx, p, before.LastRun, v)
}

func stopped(p *warm.Progress) string {
	if p.Running {
		return "the run is asked to stop"
	}
	return "no run is under way"
}

// follow shows the run until it has ended: until nothing runs, and the last run is another than before.
func (c *client) follow(ctx context.Context, p *warm.Progress, before *warm.Report, v view) error {
	stopping, lost := false, time.Time{}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		if !p.Running && p.LastRun != nil && (before == nil || !p.LastRun.FinishedAt.Equal(before.FinishedAt)) {
			v.end(p.LastRun)
			return verdict(p.LastRun)
		}
		v.show(p)
		interrupted := ctx.Done()
		if stopping {
			interrupted = nil
		}
		method := http.MethodGet
		select {
		case <-tick.C:
		case <-interrupted:
			stopping, method = true, http.MethodDelete
			v.line("asking the run to stop")
		}
		next, err := c.call(context.WithoutCancel(ctx), method)
		switch {
		case err == nil:
			p, lost = next, time.Time{}
		case stopping || errors.Is(err, errRefused):
			return err
		case lost.IsZero():
			lost = time.Now() // it may be restarting, or its replica was
		case time.Since(lost) > patience:
			return err
		}
	}
}

func verdict(r *warm.Report) error {
	switch {
	case r.End != "finished":
		return errors.New("the run was stopped")
	case r.Total > 0 && r.Failed == r.Total:
		return errors.New("nothing could be warmed")
	}
	return nil
}

var errRefused = errors.New("refused")

func (c *client) call(ctx context.Context, method string) (*warm.Progress, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from Warmfront; is WARMFRONT_URL right? %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.url, err)
	}
	if res.StatusCode >= 300 {
		var said struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &said) // a foreign server may say anything
		if res.StatusCode == http.StatusForbidden {
			said.Error = "ADMIN_TOKEN is not the one that this Warmfront has"
		}
		err := fmt.Errorf("%w: status %d: %s", errRefused, res.StatusCode, said.Error)
		if res.StatusCode >= 500 {
			err = fmt.Errorf("status %d: %s", res.StatusCode, said.Error)
		}
		return nil, err
	}
	var p warm.Progress
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("%s is no Warmfront: %w", c.url, err)
	}
	return &p, nil
}

// newView is a bar on a terminal, and plain lines elsewhere.
func newView(out io.Writer) view {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &bar{out: out}
	}
	return &lines{out: out}
}
