// Package proxy is Warmfront's way of a request: an intercepted one is classified, keyed, looked up
// in memory and Redis, filled by one call to the server for all who wait, and answered; everything
// else is streamed to the server and back untouched. What may be stored, and for how long, is
// decided in one place (fill.go); when in doubt, the server is asked.
package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/keying"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// Proxy is the handler in front of the server. Run keeps what it believes up to date.
type Proxy struct {
	cfg       *config.Config
	log       *zap.Logger
	transport *http.Transport
	through   *httputil.ReverseProxy

	memory *store.Memory
	redis  *store.Redis // nil without REDIS_URL
	flight *flights
	large  *largeKeys

	data      *upstream.DataWatch
	revisions *upstream.Revisions
	origins   *upstream.Origins
	access    *upstream.Access
	foreign   *foreignRuns

	metrics   *metrics
	hooks     hooks
	redisDown atomic.Bool
	draining  atomic.Bool

	usersWaiting atomic.Int64
}

// New wires a Proxy; it asks nobody anything before Run.
func New(cfg *config.Config, log *zap.Logger) (*Proxy, error) {
	transport := newTransport(cfg)
	client := upstream.NewClient(cfg.UpstreamURL, transport, cfg.UpstreamTimeout)
	p := &Proxy{
		cfg:       cfg,
		log:       log,
		transport: transport,
		through:   newPassThrough(cfg, transport, log),
		flight:    newFlights(),
		large:     newLargeKeys(),
		data:      upstream.NewDataWatch(client, cfg.DataDateTickers, cfg.DataDateInterval, log),
		revisions: upstream.NewRevisions(client, cfg.RevisionInterval),
		origins:   upstream.NewOrigins(client),
		access:    upstream.NewAccess(client, log),
		foreign:   newForeignRuns(),
	}
	var err error
	if p.memory, err = store.NewMemory(int64(cfg.MemoryLimit)); err != nil {
		return nil, err
	}
	if cfg.RedisURL != "" {
		if p.redis, err = store.NewRedis(string(cfg.RedisURL), cfg.RedisPrefix, p.redisMoved); err != nil {
			p.memory.Close()
			return nil, err
		}
	}
	p.metrics = newMetrics(keying.Routes(), p.memory.Used)
	return p, nil
}

// Run watches the data date and the server's access rules until ctx ends, and says at the start
// what it is connected to.
func (p *Proxy) Run(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { p.data.Run(ctx) })
	watching.Go(func() { p.access.Run(ctx) })
	watching.Go(func() { p.announceRedis(ctx) })
	watching.Wait()
}

// Drain makes readyz say no: the platform sends no new requests.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Close waits, as long as ctx allows, for what goes on behind the requests, and ends the tiers.
func (p *Proxy) Close(ctx context.Context) error {
	landed := make(chan struct{})
	go func() { p.flight.wait(); close(landed) }()
	select {
	case <-landed:
	case <-ctx.Done():
		return fmt.Errorf("waiting for calls to the upstream: %w", ctx.Err())
	}
	p.memory.Close()
	p.transport.CloseIdleConnections()
	if p.redis == nil {
		return nil
	}
	p.redis.Flush(ctx)
	return p.redis.Close()
}

// ServeHTTP takes a request to its place.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, own := strings.CutPrefix(r.URL.Path, ownPrefix); own {
		p.serveOwn(w, r, rest)
		return
	}
	if route, param, ok := keying.Match(r.Method, r.URL.EscapedPath()); ok {
		p.intercept(w, r, route, param)
		return
	}
	if bot, writes := writesBot(r); writes {
		// Unknown before the server hears of it, and again after: a look-up in between may have
		// seen either state.
		p.revisions.Forget(bot)
		defer p.revisions.Forget(bot)
	}
	p.pass(w, r, nil)
}

func (p *Proxy) announceRedis(ctx context.Context) {
	if p.redis == nil {
		p.log.Info("no REDIS_URL – memory only")
		return
	}
	if err := p.redis.Ping(ctx); err != nil {
		p.redisDown.Store(true)
		p.log.Warn("redis does not answer – memory only until it does", zap.Error(err))
		return
	}
	p.log.Info("redis connected – shared cache enabled")
}

func (p *Proxy) redisMoved(state string) {
	down := state != "closed"
	if p.redisDown.Swap(down) != down {
		if down {
			p.log.Warn("redis is left alone for a while after repeated failures – memory only")
		} else {
			p.log.Info("redis answers again – shared cache enabled")
		}
	}
}

// writesBot reports whether the request may change saved bots, and which: "" for any. Express
// minds neither case nor a trailing slash, so an unusual spelling is a write all the same
// (contract, trap 12).
func writesBot(r *http.Request) (bot string, writes bool) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return "", false
	}
	path := strings.ToLower(r.URL.Path)
	switch {
	case strings.HasPrefix(path, "/api/migrate"):
		return "", true
	case path == "/api/bots", strings.HasPrefix(path, "/api/bots/"):
	default:
		// Whatever else names bots in a way that is not known here.
		return "", strings.Contains(path, "bots")
	}
	segments := strings.Split(r.URL.EscapedPath(), "/")
	if len(segments) < 4 || segments[3] == "" || strings.Contains(r.URL.EscapedPath(), "//") || strings.Contains(path, "/.") {
		return "", true
	}
	id, err := url.PathUnescape(segments[3])
	if err != nil {
		return "", true
	}
	return id, true
}

// foreignRuns remembers bots whose row in the server's own cache may hold a run against another
// benchmark than the default: the server's key forgets it (contract, trap 6).
type foreignRuns struct {
	mu   sync.Mutex
	bots map[string]struct{}
	full bool
}

// maxForeignRuns bounds the memory of it; past that every bot counts as one.
const maxForeignRuns = 50_000

func newForeignRuns() *foreignRuns { return &foreignRuns{bots: map[string]struct{}{}} }

func (f *foreignRuns) add(bot string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.bots) >= maxForeignRuns {
		f.full = true
		return
	}
	f.bots[bot] = struct{}{}
}

func (f *foreignRuns) has(bot string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.bots[bot]
	return ok || f.full
}

// largeKeys remembers for a minute which keys have answers over MAX_ENTRY: nobody need wait for
// another's call that can't be shared.
type largeKeys struct {
	mu    sync.Mutex
	until map[string]time.Time
}

const (
	largeFor     = time.Minute
	maxLargeKeys = 10_000
)

func newLargeKeys() *largeKeys { return &largeKeys{until: map[string]time.Time{}} }

func (l *largeKeys) add(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.until) >= maxLargeKeys {
		clear(l.until)
	}
	l.until[key] = time.Now().Add(largeFor)
}

func (l *largeKeys) has(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until[key])
}
