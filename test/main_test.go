// Package test holds Warmfront's end-to-end tests: the built binary between real clients, the stand-in
// server and a real Redis, over sockets. The processes are the harness's, the tests assert.
package test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"warmfront/test/harness"
)

// The lab, and the stand-in servers that are free at the moment: tests run side by side, each with a stand-in to
// itself, and hand it on. A test that moves the data, or ends the server, starts one of its own.
var (
	lab  *harness.Lab
	free = make(chan *harness.Upstream, maxFree)
)

// maxFree bounds the stand-ins that are kept for the next test.
const maxFree = 16

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if lab, err = harness.NewLab("node", "redis-server", "postgres"); err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		return 1
	}
	defer lab.Close()
	lab.HistoryDays = harness.ShortHistory
	return m.Run()
}

// upstream is a stand-in server as it was at its start, for this test alone while it runs.
func upstream(t *testing.T) *harness.Upstream {
	t.Helper()
	var up *harness.Upstream
	select {
	case up = <-free:
	default:
		var err error
		up, err = lab.StartUpstream(nil)
		ok(t, err)
	}
	t.Cleanup(func() { // after what this test put in front of it has ended
		select {
		case free <- up:
		default:
			up.Stop()
		}
	})
	ok(t, up.Reset())
	explain(t, up.Process)
	return up
}

// ownUpstream is a stand-in server for this test alone.
func ownUpstream(t *testing.T, env harness.Env) *harness.Upstream {
	t.Helper()
	up, err := lab.StartUpstream(env)
	ok(t, err)
	t.Cleanup(up.Stop)
	explain(t, up.Process)
	return up
}

// redisServer is a Redis for this test alone.
func redisServer(t *testing.T) *harness.Redis {
	t.Helper()
	r, err := lab.StartRedis()
	ok(t, err)
	t.Cleanup(r.Stop)
	return r
}

// warmfront is a Warmfront in front of url that is ready to cache.
func warmfront(t *testing.T, url string, env harness.Env) *harness.Server {
	t.Helper()
	w, err := lab.StartWarmfront(url, env)
	ok(t, err)
	t.Cleanup(w.Stop)
	explain(t, w.Process)
	return w
}

// launched is a Warmfront that lives, though its upstream may not.
func launched(t *testing.T, url string, env harness.Env) *harness.Server {
	t.Helper()
	w, err := lab.LaunchWarmfront(url, env)
	ok(t, err)
	t.Cleanup(w.Stop)
	explain(t, w.Process)
	return w
}

// explain prints what a process said when the test has failed.
func explain(t *testing.T, p *harness.Process) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Tail(25))
		}
	})
}

// client has no connections in common with any other client.
func client(t *testing.T) *http.Client {
	c := harness.NewClient()
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// limit ends a test's requests before go test ends the test.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// get asks for url with header lines ("Name: value").
func get(t *testing.T, url string, header ...string) *harness.Answer {
	t.Helper()
	return send(t, http.MethodGet, url, nil, header...)
}

// post sends a JSON body to url with header lines.
func post(t *testing.T, url, body string, header ...string) *harness.Answer {
	t.Helper()
	return send(t, http.MethodPost, url, []byte(body), header...)
}

func send(t *testing.T, method, url string, body []byte, header ...string) *harness.Answer {
	t.Helper()
	a, err := harness.Send(limit(t), client(t), harness.Request{Method: method, URL: url, Header: header, Body: body})
	ok(t, err)
	return a
}
