package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/sony/gobreaker/v2"
)

// How long Redis may hold up a request, whatever go-redis does below: a dead Redis can hold a
// caller far longer than its dial timeout (redis/go-redis#2641, #3289).
const (
	readPatience  = 50 * time.Millisecond
	writePatience = 50 * time.Millisecond
	writeTimeout  = 2 * time.Second
)

// ErrUnavailable means that Redis did not answer in time, or is being left alone for a while after
// it repeatedly did not.
var ErrUnavailable = errors.New("store: redis is unavailable")

// ErrNotFound means that Redis has no such key.
var ErrNotFound = errors.New("store: no such entry")

// Redis is the tier that replicas share. Every call is bounded in time, and a breaker leaves a
// failing Redis alone; requests go on without it.
type Redis struct {
	client  redis.UniversalClient
	prefix  string
	breaker *gobreaker.CircuitBreaker[[]byte]
	writes  chan struct{} // tokens: writes that may go on behind their request's back

	outcomes outcomes
}

// NewRedis makes the tier for rawURL (redis://, rediss://, unix://; several addr= for a cluster,
// master_name for Sentinel). It does not connect: a Redis that is down at the start may come back.
func NewRedis(rawURL, prefix string) (*Redis, error) {
	client, err := newClient(rawURL)
	if err != nil {
		return nil, err
	}
	r := &Redis{client: client, prefix: prefix, writes: make(chan struct{}, 64)}
	r.breaker = gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Name:         "redis",
		Interval:     10 * time.Second,
		Timeout:      time.Second,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 5 },
		IsSuccessful: answered,
	})
	return r, nil
}

// Client is the connection itself, for what else replicas share.
func (r *Redis) Client() redis.UniversalClient { return r.client }

// answered reports whether Redis said something, if only that it is full or read-only: such a Redis
// may still serve reads.
func answered(err error) bool {
	var said redis.Error
	return err == nil || errors.As(err, &said)
}

func newClient(rawURL string) (redis.UniversalClient, error) { return dial(rawURL, tuned) }

// dial makes a client with options as tune sets them.
func dial(rawURL string, tune func(*redis.UniversalOptions) *redis.UniversalOptions) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("REDIS_URL can't be read as a URL")
	}
	q := u.Query()
	switch {
	case q.Has("master_name"):
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("REDIS_URL for Sentinel: %w", err)
		}
		return redis.NewUniversalClient(tune(&redis.UniversalOptions{
			MasterName: o.MasterName, Addrs: o.SentinelAddrs, Username: o.Username, Password: o.Password,
			SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword, DB: o.DB, TLSConfig: o.TLSConfig,
		})), nil
	case q.Has("addr"):
		o, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("REDIS_URL for a cluster: %w", err)
		}
		return redis.NewUniversalClient(tune(&redis.UniversalOptions{
			IsClusterMode: true, Addrs: o.Addrs, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		})), nil
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return newSingle(o, tune), nil
}

// newSingle exists because UniversalOptions knows no unix sockets.
func newSingle(o *redis.Options, tune func(*redis.UniversalOptions) *redis.UniversalOptions) redis.UniversalClient {
	t := tune(&redis.UniversalOptions{TLSConfig: o.TLSConfig})
	o.MaxRetries, o.DialTimeout, o.DialerRetries = t.MaxRetries, t.DialTimeout, t.DialerRetries
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = t.ReadTimeout, t.WriteTimeout, t.PoolTimeout
	o.ContextTimeoutEnabled, o.MaintNotificationsConfig = true, t.MaintNotificationsConfig
	return redis.NewClient(o)
}

// tuned sets what makes go-redis give up early: its defaults retry dials five times an attempt and
// commands three times.
func tuned(o *redis.UniversalOptions) *redis.UniversalOptions {
	o.MaxRetries = -1
	o.DialTimeout = time.Second
	o.DialerRetries = 1
	o.ReadTimeout = writeTimeout
	o.WriteTimeout = writeTimeout
	o.PoolTimeout = writeTimeout
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if o.TLSConfig != nil {
		o.TLSConfig.MinVersion = tls.VersionTLS12
	}
	return o
}

// Get reads the entry of key in one round trip and no more than 50 ms. The error is ErrNotFound,
// ErrForeign, ErrUnavailable, or the context's.
func (r *Redis) Get(ctx context.Context, key string) (*Entry, error) {
	b, err := bounded(ctx, readPatience, readPatience, func(ctx context.Context) ([]byte, error) {
		return r.breaker.Execute(func() ([]byte, error) {
			return r.client.Get(ctx, r.prefix+key).Bytes()
		})
	})
	r.outcomes.note(&r.outcomes.read, err)
	switch {
	case errors.Is(err, redis.Nil):
		return nil, ErrNotFound
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Decode(key, b)
}

// Set writes e with a TTL that covers its fresh and stale time. It waits 50 ms at most, so that a
// second replica sees what the first has just answered; a slower write goes on behind it. done is
// called with the outcome, perhaps later.
func (r *Redis) Set(e *Entry, done func(error)) {
	select {
	case r.writes <- struct{}{}:
	default:
		done(fmt.Errorf("%w: too many writes under way", ErrUnavailable))
		return
	}
	_, err := bounded(context.Background(), writePatience, writeTimeout, func(ctx context.Context) ([]byte, error) {
		defer func() { <-r.writes }()
		b, err := Encode(e)
		if err == nil {
			b, err = r.breaker.Execute(func() ([]byte, error) {
				return nil, r.client.Set(ctx, r.prefix+e.Key, b, e.Fresh+e.Stale).Err()
			})
			r.outcomes.note(&r.outcomes.write, err)
		}
		done(err)
		return b, err
	})
	_ = err // done has it, or will
}

// Del drops key. It waits as Set does, and a slower one goes on behind it; the error says that it has
// not been dropped yet, or not at all.
func (r *Redis) Del(ctx context.Context, key string) error {
	select {
	case r.writes <- struct{}{}:
	default:
		return fmt.Errorf("%w: too many writes under way", ErrUnavailable)
	}
	_, err := bounded(ctx, writePatience, writeTimeout, func(ctx context.Context) ([]byte, error) {
		defer func() { <-r.writes }()
		return r.breaker.Execute(func() ([]byte, error) {
			return nil, r.client.Unlink(ctx, r.prefix+key).Err()
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Flush waits until no write is under way, or ctx ends.
func (r *Redis) Flush(ctx context.Context) {
	for range cap(r.writes) {
		select {
		case r.writes <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends the connections.
func (r *Redis) Close() error { return r.client.Close() }

// bounded runs call with a deadline of timeout and gives up waiting for it after patience: the
// library's own deadlines don't cover dialling and waiting for a turn. The call itself always ends
// by its deadline, since everything in it looks at its context.
func bounded(ctx context.Context, patience, timeout time.Duration, call func(context.Context) ([]byte, error)) ([]byte, error) {
	type outcome struct {
		b   []byte
		err error
	}
	ended := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		b, err := call(ctx)
		ended <- outcome{b, err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o := <-ended:
		return o.b, o.err
	case <-timer.C:
		return nil, context.DeadlineExceeded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
