package upstream

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// accessInterval is how often the server is asked whether it protects its answers.
const accessInterval = 5 * time.Minute

// Access finds out whether the server answers the intercepted routes for everyone. Today's does;
// a later one asks for credentials.
type Access struct {
	client *Client
	log    *zap.Logger
	state  atomic.Int32 // of access states
}

const (
	accessUnknown int32 = iota
	accessPublic
	accessGranted
)

// NewAccess asks through c. While nothing is known, Public is false.
func NewAccess(c *Client, log *zap.Logger) *Access { return &Access{client: c, log: log} }

// Public reports whether the server is known to give everyone the same answer.
func (a *Access) Public() bool { return a.state.Load() == accessPublic }

// Known reports whether the server has answered at all.
func (a *Access) Known() bool { return a.state.Load() != accessUnknown }

// Run asks at the start and every five minutes, until ctx ends.
func (a *Access) Run(ctx context.Context) {
	for {
		wait := accessInterval
		if !a.Probe(ctx) {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Probe asks once, without credentials, about a bot that can't exist. It reports whether there was
// an answer. 401 and 403 mean that answers belong to somebody. One that was given before the question was looked
// at, such as a rate limiter's or a redirection, tells nothing.
func (a *Access) Probe(ctx context.Context) bool {
	res, _, err := a.client.get(ctx, "/api/bots/warmfront-probe-"+rand.Text(), nil)
	if err != nil || res.StatusCode >= http.StatusInternalServerError || res.StatusCode == http.StatusTooManyRequests || res.StatusCode/100 == 3 {
		return false
	}
	now := accessPublic
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		now = accessGranted
	}
	if before := a.state.Swap(now); before != now {
		a.log.Info("access", zap.Bool("public", now == accessPublic), zap.Int("probeStatus", res.StatusCode))
	}
	return true
}
