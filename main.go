// Warmfront is a caching sidecar in front of a server that computes backtests. main only wires:
// configuration, log, proxy, listener, and their orderly end.
package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"warmfront/config"
	"warmfront/proxy"
)

// Exit codes: 1 is a failure while running, 2 a configuration or command line that can't work.
const (
	exitFailed = 1
	exitUsage  = 2
)

// maxHead bounds a request's head, in bytes; net/http allows 4 KiB more. Node takes 16 KiB and answers 431 to what is
// longer, closing the connection at once: if it has not read all of the head by then, that answer may be lost, and a
// write that no handler saw would be in doubt. This much goes out in one piece.
const maxHead = 32 << 10

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 0:
	case args[0] == "warm":
		os.Exit(runWarm(args[1:]))
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help"):
		config.Help(os.Stdout)
		return
	default:
		fmt.Fprintf(os.Stderr, "warmfront: unknown arguments %q; it takes none, warm, or --help\n", args)
		os.Exit(exitUsage)
	}
	cfg, err := config.Load(environment())
	if err != nil {
		fmt.Fprintf(os.Stderr, "warmfront: %v\n", err)
		os.Exit(exitUsage)
	}
	log := newLogger(cfg)
	redis.SetLogger(redisLog{log.Named("redis")})
	stdlog.SetFlags(0)
	stdlog.SetOutput(proxy.NetLog(log).Writer())
	err = serve(cfg, log)
	if err != nil {
		log.Error("stopped", zap.Error(err))
	}
	_ = log.Sync() // stdout can't always be synced, and there is nobody to tell
	if err != nil {
		os.Exit(exitFailed)
	}
}

// serve runs until SIGTERM or SIGINT, then drains.
func serve(cfg *config.Config, log *zap.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p, err := proxy.New(cfg, log)
	if err != nil {
		return fmt.Errorf("making the proxy: %w", err)
	}
	loop, err := newWarming(cfg, p, log)
	if err != nil {
		return fmt.Errorf("making the warm loop: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("::", strconv.Itoa(cfg.Port)))
	if err != nil {
		// A machine without IPv6 has no [::].
		if listener, err = net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(cfg.Port))); err != nil {
			return fmt.Errorf("listening on PORT %d: %w", cfg.Port, err)
		}
	}
	watching := make(chan struct{})
	watch, stopWatching := context.WithCancel(context.Background())
	go func() { p.Run(watch); close(watching) }()
	loop.start()

	server := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          proxy.NetLog(log),
		// OPTIONS * is the server's to answer.
		DisableGeneralOptionsHandler: true,
		// No WriteTimeout: downloads and event streams take as long as they take.
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("warmfront listens", zap.String("address", listener.Addr().String()), zap.String("upstream", cfg.UpstreamURL.Redacted()))

	select {
	case err = <-failed:
	case <-ctx.Done():
		stop() // a second signal ends the process at once
		loop.stop()
		err = drain(cfg, log, p, server)
	}
	loop.stop()
	stopWatching()
	<-watching
	return err
}

// drain says so on readyz, stops accepting, and gives requests under way DRAIN to finish.
func drain(cfg *config.Config, log *zap.Logger, p *proxy.Proxy, server *http.Server) error {
	log.Info("draining", zap.Duration("for", cfg.Drain))
	p.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Drain)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		// What still streams after DRAIN would stream for ever.
		log.Warn("cut off what was still under way", zap.Error(err))
		_ = server.Close()
	}
	ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		log.Warn("closing", zap.Error(err))
	}
	log.Info("drained")
	return nil
}

func environment() map[string]string {
	vars := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return vars
}

// redisLog is where the Redis client's own complaints go: what they mean for requests is told elsewhere.
type redisLog struct{ log *zap.Logger }

func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}

// newLogger writes to stdout: JSON for machines, console lines for a terminal.
func newLogger(cfg *config.Config) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if cfg.LogFormat == config.LogConsole {
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stdout), cfg.LogLevel.Zap()))
}
