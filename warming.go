package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy"
	"warmfront/proxy/store"
	"warmfront/warm"
	"warmfront/warm/cli"
	"warmfront/warm/seed"
)

// runWarm is the command "warm". The first Ctrl-C asks the run to stop, the second ends the command.
func runWarm(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { <-ctx.Done(); stop() }()
	return cli.Run(ctx, args, environment(), os.Stdout, os.Stderr)
}

// warming is the warm loop with its own connections to Redis.
type warming struct {
	loop  *warm.Loop
	redis redis.UniversalClient // nil without REDIS_URL
	seeds redis.UniversalClient // the same, for large values
	log   *zap.Logger
	ctx   context.Context
	end   context.CancelFunc
	done  sync.WaitGroup
	once  sync.Once
}

// newWarming wires the loop to the proxy: its requests take the way of users' requests, and what users
// ask is noted.
func newWarming(cfg *config.Config, p *proxy.Proxy, log *zap.Logger) (*warming, error) {
	w := &warming{log: log}
	w.ctx, w.end = context.WithCancel(context.Background())
	if cfg.RedisURL != "" {
		client, err := store.Dial(string(cfg.RedisURL))
		if err != nil {
			return nil, fmt.Errorf("connecting to Redis: %w", err)
		}
		w.redis = client
		if w.seeds, err = store.DialPatient(string(cfg.RedisURL)); err != nil {
			return nil, fmt.Errorf("connecting to Redis: %w", err)
		}
	}
	w.loop = warm.New(warm.Options{
		World: world{p}, Host: cfg.UpstreamURL.Host,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			maps.Copy(r.Header, p.Credentials(r.Context()))
			p.ServeHTTP(rw, r.WithContext(proxy.ForWarming(r.Context())))
		}),
		Redis: w.redis, Prefix: cfg.RedisPrefix,
		Enabled: cfg.Warm, Concurrency: cfg.WarmConcurrency, Journal: cfg.WarmJournal, Epoch: cfg.Epoch,
		Jobs: warm.Jobs{
			Seeder: seed.New(w.seeds, cfg.RedisPrefix, string(cfg.CorrelationsDatabaseURL), log.Named("seed")),
			Redis:  w.seeds != nil, Dir: cfg.ParquetDir, Table: cfg.CorrelationsDatabaseURL != "",
		},
		Log: log, Registry: p.Registry(),
	})
	if cfg.Warm {
		p.OnAnswered(func(a proxy.Answered) {
			w.loop.Note(warm.Note{Request: a.Request, Method: a.Method, Target: a.Target, Body: a.Body, Upstream: a.Upstream})
		})
	}
	p.ServeWarm(w.loop, func() any { return w.loop.Summary() })
	return w, nil
}

func (w *warming) start() { w.done.Go(func() { w.loop.Run(w.ctx) }) }

// stop ends the loop, and returns when it has ended. It leaves a run to another replica.
func (w *warming) stop() {
	w.once.Do(func() {
		w.end()
		w.done.Wait()
		if w.redis == nil {
			return
		}
		if err := errors.Join(w.redis.Close(), w.seeds.Close()); err != nil {
			w.log.Debug("closing the warm loop's connections", zap.Error(err))
		}
	})
}

// world is the proxy as the warm loop sees it.
type world struct{ *proxy.Proxy }

// Data gives the proxy's state in the loop's words.
func (w world) Data() (warm.State, bool) {
	date, generation, provisional, ok := w.Proxy.Data()
	return warm.State{Date: date, Generation: generation, Provisional: provisional}, ok
}
