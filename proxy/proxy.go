// Package proxy is Warmfront's way of a request: an intercepted one is classified, keyed, looked up
// in memory and Redis, filled by one call to the server for all who wait, and answered; everything
// else is streamed to the server and back untouched. What may be stored, and for how long, is
// decided in one place (keep.go); when in doubt, the server is asked.
package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/keying"
	"warmfront/proxy/board"
	"warmfront/proxy/lease"
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

	client    *upstream.Client
	board     *board.Board
	admin     *upstream.Admin
	data      *upstream.DataWatch
	revisions *upstream.Revisions
	origins   *upstream.Origins
	access    *upstream.Access
	fills     *fills
	grants    *grants
	creds     credentialNames
	leases    *lease.Leases // nil without REDIS_URL

	background

	metrics  *metrics
	hooks    hooks
	draining atomic.Bool

	usersWaiting  atomic.Int64
	clientSilence time.Duration // clientSilence, less in tests
}

// New wires a Proxy; it asks nobody anything before Run.
func New(cfg *config.Config, log *zap.Logger) (*Proxy, error) {
	transport := newTransport(cfg)
	client := upstream.NewClient(cfg.UpstreamURL, transport, cfg.UpstreamTimeout)
	p := &Proxy{
		cfg:       cfg,
		log:       log,
		transport: transport,
		client:    client,
		flight:    newFlights(),
		large:     newLargeKeys(),
		admin:     upstream.NewAdmin(client, cfg.UpstreamEmail, string(cfg.UpstreamPassword), string(cfg.UpstreamAuthorization)),
		creds:     newCredentialNames(cfg.CredentialHeaders),

		clientSilence: clientSilence,
	}
	var err error
	if p.memory, err = store.NewMemory(int64(cfg.MemoryLimit)); err != nil {
		return nil, err
	}
	var shared redis.UniversalClient
	if cfg.RedisURL != "" {
		if p.redis, err = store.NewRedis(string(cfg.RedisURL), cfg.RedisPrefix); err != nil {
			p.memory.Close()
			return nil, err
		}
		shared = p.redis.Client()
	}
	p.board = board.New(shared, cfg.RedisPrefix, cfg.CacheTTL+cfg.StaleTTL, p.hear, log)
	p.fills = newFills(shared, p.board.InTouch, cfg.RedisPrefix, cfg.CacheTTL+cfg.StaleTTL)
	p.leases = lease.New(shared, cfg.RedisPrefix, p.board.InTouch)
	p.origins = upstream.NewOrigins(client, upstream.NewSharedOrigins(shared, cfg.RedisPrefix, p.board.InTouch))
	p.through = newPassThrough(cfg, transport, p.origins, log)
	p.access = upstream.NewAccess(client, p.board, cfg.DataDateTickers[0], log)
	p.grants = newGrants(p.board, shared, cfg.RedisPrefix)
	p.data = upstream.NewDataWatch(client, p.admin, p.board, upstream.DataSettings{
		Canaries: cfg.DataDateTickers, Interval: cfg.DataDateInterval, Settle: cfg.SyncSettle,
		Looks: upstream.NewLooks(shared, cfg.RedisPrefix),
	}, log)
	p.revisions = upstream.NewRevisions(client, cfg.RevisionInterval, cfg.RevisionMax, p.board)
	p.metrics = newMetrics(keying.Routes(), p.memory.Used)
	p.startBackground(shared)
	return p, nil
}

// Run watches the data date and the server's access rules until ctx ends, and says at the start
// what it is connected to.
func (p *Proxy) Run(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { p.board.Run(ctx) })
	watching.Go(func() { p.leases.Run(ctx) })
	watching.Go(func() { p.data.Run(ctx) })
	watching.Go(func() { p.access.Run(ctx) })
	watching.Go(func() { p.redisHealth().Run(ctx) })
	watching.Wait()
}

func (p *Proxy) redisHealth() redisHealth { return redisHealth{p.redis, p.board, p.log} }

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
	p.revisions.Close()
	p.origins.Close()
	p.closeBackground(ctx)
	p.leases.Close()
	p.board.Leave(ctx)
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
	r = boundSilence(w, r, p.clientSilence)
	if rest, own := strings.CutPrefix(r.URL.Path, ownPrefix); own {
		p.serveOwn(w, r, rest)
		return
	}
	if route, param, ok := keying.Match(r.Method, r.URL.EscapedPath()); ok {
		p.intercept(w, r, route, param)
		return
	}
	if p.cfg.Access != config.AccessPublic {
		w = p.watchRefusal(w, r)
	}
	if e := effectOf(r.Method, r.URL.EscapedPath()); e.kind != noEffect {
		p.passWriting(w, r, e)
		return
	}
	p.pass(w, r, nil)
}

// hear takes in what another replica has put on the board.
func (p *Proxy) hear(s board.Subject) {
	switch s.Class {
	case board.Key:
		p.memory.Del(s.Name)
	case board.Foreign:
		p.fills.hasForeign(s.Name)
	case board.Route:
		p.audit.byExactIDs(s.Name)
	case board.Bot, board.Metrics:
		if s.Name == "" {
			// Redis may have lost what the replicas agreed on: whoever knows it must tell before a newcomer,
			// who knows nothing, keeps much by what it finds.
			p.data.Poke()
			p.fills.untold()
			p.audit.tellAgain()
			p.access.TellAgain()
			p.writeback.forgetAll()
		} else {
			p.writeback.moved(s.Name)
		}
	case board.Answer:
		p.writeback.givenElsewhere(s.Name)
	case board.Grant:
		p.grants.forget(s.Name)
	case board.Access:
		p.access.Hear(s.Name)
	case board.Caller:
		p.access.HearOf(s.Name)
	}
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
