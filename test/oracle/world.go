// Package oracle is a randomized test of the one promise that counts: no answer of Warmfront's is one
// that the server would not have given, asked directly or made to compute afresh, at some moment between
// the request's arrival and its answer. Two Warmfronts, a Redis and the stand-in server run as processes;
// random operations go to them from several workers at once; and of every answer the stand-in, which
// remembers what each of its own was made of, is asked whether it would have been right (check.go).
package oracle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"warmfront/test/harness"
)

// Settings are those of a run's world, with what they allow.
type Settings struct {
	Interval    time.Duration // DATA_DATE_INTERVAL
	Settle      time.Duration // SYNC_SETTLE
	Provisional time.Duration // PROVISIONAL_TTL
	Revision    time.Duration // REVISION_INTERVAL; an hour, unless writes go around Warmfront
	SyncTook    time.Duration // about how long syncs take
	Admin       bool          // Warmfront has an admin's login
	Fresh       bool          // what is kept for long must be equal to a fresh computation
	Access      string        // ACCESS; empty: public
	Without     string        // the protective rules that are taken out, with commas between
}

// quick are settings that make everything happen within seconds. On a slow machine a sync of the stand-in may
// give no sign for a second or two: SYNC_SETTLE must be longer, as it must in life.
func quick() Settings {
	return Settings{Interval: 100 * time.Millisecond, Settle: 3 * time.Second, Provisional: 250 * time.Millisecond, Revision: time.Hour, SyncTook: 400 * time.Millisecond}
}

// slack is for the look at the data that was under way, on a slow machine.
const slack = 2500 * time.Millisecond

// late is how long a change of the data that nobody announced may go unseen.
func (s Settings) late() time.Duration { return 2*s.Interval + slack }

// botLate is how long a write that went around Warmfront may go unseen.
func (s Settings) botLate() time.Duration {
	if s.Revision >= time.Hour {
		return 0
	}
	return s.revisionMax() + slack
}

// revisionMax is REVISION_MAX: how long a bot is believed to be as it was while the server is too busy to say.
func (s Settings) revisionMax() time.Duration { return max(s.Revision, time.Second) }

func (s Settings) env(redis string) harness.Env {
	env := harness.Env{
		"REDIS_URL": redis, "DATA_DATE_INTERVAL": s.Interval.String(), "SYNC_SETTLE": s.Settle.String(),
		"PROVISIONAL_TTL": s.Provisional.String(), "REVISION_INTERVAL": s.Revision.String(), "REVISION_MAX": (s.Revision + time.Second).String(), "ACCESS": cmp.Or(s.Access, "public"),
		"AUDIT_RATE": "0", "LOG_LEVEL": "warn",
	}
	if s.Admin {
		env["UPSTREAM_EMAIL"], env["UPSTREAM_PASSWORD"] = adminEmail, adminPassword
	}
	if s.Without != "" {
		env["WARMFRONT_WITHOUT"] = s.Without
	}
	return env
}

const (
	adminEmail    = "admin@example.com"
	adminPassword = "admin-password"
)

// World is everything that runs, and is restarted by operations.
type World struct {
	lab      *harness.Lab
	settings Settings
	up       *harness.Upstream
	client   *http.Client
	control  *http.Client // for the stand-in's levers: a restart cuts who is connected to it
	token    string       // an admin's

	mu       sync.Mutex // of what follows: processes come and go
	redis    *harness.Redis
	replicas [2]*harness.Server
	back     time.Time // when Redis came back last; far off while it is away
}

// rejoined is for how long replicas may not have told each other yet what they did while Redis was away.
const rejoined = 3 * time.Second

// redisWasAway reports whether a replica may have had to do without Redis at some time since then: of clearings and syncs
// that were started through another it knows then by their signs only (README, "While Redis is away").
func (w *World) redisWasAway(then time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return then.Before(w.back.Add(rejoined + slack))
}

// newWorld starts a stand-in with short histories of few tickers, a Redis, and two Warmfronts.
func newWorld(lab *harness.Lab, s Settings) (w *World, err error) {
	w = &World{lab: lab, settings: s, client: harness.NewClient(), control: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.up, err = lab.StartUpstream(harness.Env{
		"PARQUET_DIR": "", "HISTORY_DAYS": "150", "TICKERS": strings.Join(tickers, ","), "SEED_BOTS": "0", "REMEMBER": "1",
		"DATA_DATE_MEMORY_MS": "50", "SYNC_DURATION_MS": strconv.FormatInt(s.SyncTook.Milliseconds(), 10),
	})
	if err != nil {
		return w, err
	}
	for bot := range bots {
		if err = w.send(http.MethodPost, "/api/bots", newBot(bot, bot), nil); err != nil {
			return w, err
		}
	}
	var login struct{ AccessToken string }
	if err = w.send(http.MethodPost, "/api/auth/login", map[string]any{"email": adminEmail, "password": adminPassword}, &login); err != nil {
		return w, err
	}
	w.token = login.AccessToken
	if w.redis, err = lab.StartRedis(); err != nil {
		return w, err
	}
	for i := range w.replicas {
		if w.replicas[i], err = lab.StartWarmfront(w.up.URL, s.env(w.redis.URL())); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *World) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.replicas {
		if r != nil {
			r.Kill()
		}
	}
	if w.redis != nil {
		w.redis.Kill()
	}
	if w.up != nil {
		w.up.Kill()
	}
	w.client.CloseIdleConnections()
}

// tail is what the processes said last, for a failure's message.
func (w *World) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replicas[0].Tail(12) + w.replicas[1].Tail(12) + w.up.Tail(8)
}

func (w *World) url(replica int) string {
	if replica < 0 {
		return w.up.URL
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.replicas[replica].URL
}

// restart kills a Warmfront and starts it again on its port.
func (w *World) restart(replica int) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	env := w.settings.env(w.redis.URL())
	env["PORT"] = w.replicas[replica].URL[strings.LastIndexByte(w.replicas[replica].URL, ':')+1:]
	w.replicas[replica].Kill()
	w.replicas[replica], err = w.lab.LaunchWarmfront(w.up.URL, env)
	return err
}

func (w *World) stopRedis() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back = time.Now().Add(time.Hour)
	w.redis.Kill()
}

// startRedis starts the Redis that was stopped, on its port and empty.
func (w *World) startRedis() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.redis.Exited():
	default:
		return nil
	}
	r, err := w.lab.StartRedisAt(w.redis.Port)
	if err == nil {
		w.redis, w.back = r, time.Now()
	}
	return err
}

// tellRedis has it do one command, in Redis's inline form.
func (w *World) tellRedis(command string) error {
	w.mu.Lock()
	address := w.redis.Address
	w.mu.Unlock()
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return nil // it is stopped at the moment, and will be empty
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = c.Write([]byte(command + "\r\n")); err == nil {
		_, err = c.Read(make([]byte, 16))
	}
	if harness.IsCut(err) {
		return nil // it was stopped just now
	}
	return err
}

// sync starts the server's own scheduler; one that runs already is let run.
func (w *World) sync(mode string, took time.Duration) error {
	err := w.up.Sync(mode, int(took.Milliseconds()))
	if err != nil && strings.Contains(err.Error(), "409") {
		return nil
	}
	return err
}

var errRefused = errors.New("the stand-in refused")

// send asks the stand-in itself.
func (w *World) send(method, path string, body, into any) error {
	req := harness.Request{Method: method, URL: w.up.URL + path}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req.Body = b
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, err := harness.Send(ctx, w.control, req)
	for harness.IsCut(err) && ctx.Err() == nil { // it is being restarted
		time.Sleep(10 * time.Millisecond)
		a, err = harness.Send(ctx, w.control, req)
	}
	if err != nil {
		return err
	}
	if a.Status/100 != 2 {
		return fmt.Errorf("%w\n%s", errRefused, a)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(bytes.NewReader(a.Wire)).Decode(into)
}
