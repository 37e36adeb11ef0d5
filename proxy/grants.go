package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"warmfront/proxy/board"
)

const (
	// grantTTL is for how long a 2xx of the server lets its caller have stored answers about the same bot.
	grantTTL = 5 * time.Minute
	// maxGrants bounds what is remembered of them.
	maxGrants = 100_000
	// grantPatience bounds how long a request waits to learn of a grant from Redis.
	grantPatience = 50 * time.Millisecond
	// endsAtOnce is how many grants of a caller are being ended at the same time.
	endsAtOnce = 64
)

// grants remembers, where answers belong to somebody, which callers the server has let have answers about
// which bots. A caller is a keyed hash of its credentials: the credentials themselves are kept nowhere.
type grants struct {
	board  *board.Board
	redis  redis.UniversalClient // nil: not shared
	prefix string
	secret string // until the board has one that is shared

	mu    sync.Mutex
	until map[string]time.Time
}

func newGrants(b *board.Board, client redis.UniversalClient, prefix string) *grants {
	return &grants{board: b, redis: client, prefix: prefix + "{board}:grant:", secret: rand.Text(), until: map[string]time.Time{}}
}

// credentials are the fields that tell who asks.
func credentials(h http.Header) http.Header {
	c := http.Header{}
	for _, name := range []string{"Authorization", "Cookie"} {
		if values := h[name]; len(values) > 0 {
			c[name] = values
		}
	}
	return c
}

// names gives the names of the caller's grants for what a request is about: each bot, or the route where
// there is none. None for a caller without credentials.
func (g *grants) names(a *ask) []string {
	caller := credentials(a.in.Header)
	if len(caller) == 0 {
		return nil
	}
	about := []string{"route " + a.route.Name}
	if a.request != nil && len(a.request.Bots) > 0 {
		about = about[:0]
		for _, bot := range a.request.Bots {
			about = append(about, "bot "+bot)
		}
	} else if a.bot != "" {
		about = []string{"bot " + a.bot}
	}
	names := make([]string, len(about))
	for i := range about {
		names[i] = g.name(caller, about[i])
	}
	return names
}

func (g *grants) name(caller http.Header, about string) string {
	secret := g.board.Secret()
	if secret == "" {
		secret = g.secret
	}
	mac := hmac.New(sha256.New, []byte(secret))
	for _, name := range []string{"Authorization", "Cookie"} {
		for _, v := range caller[name] {
			mac.Write([]byte(v))
			mac.Write([]byte{0})
		}
		mac.Write([]byte{1})
	}
	mac.Write([]byte(about))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// hold reports whether the caller has all the grants: in memory, or given on another replica.
func (g *grants) hold(ctx context.Context, names []string) bool {
	if len(names) == 0 {
		return false
	}
	var missing []string
	now := time.Now()
	g.mu.Lock()
	for _, name := range names {
		if !now.Before(g.until[name]) {
			missing = append(missing, name)
		}
	}
	g.mu.Unlock()
	// A replica that is cut off may have missed that a grant has ended.
	if len(missing) == 0 {
		return g.board.Sure()
	}
	if g.redis == nil || !g.board.Sure() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	left := make([]*redis.DurationCmd, len(missing))
	_, err := g.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range missing {
			left[i] = p.PTTL(ctx, g.prefix+name)
		}
		return nil
	})
	if err != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, name := range missing {
		if left[i].Val() <= 0 {
			return false
		}
		g.put(name, now.Add(min(left[i].Val(), grantTTL)))
	}
	return true
}

// give notes that the server has let the caller have an answer.
func (g *grants) give(ctx context.Context, names []string) {
	g.mu.Lock()
	for _, name := range names {
		g.put(name, time.Now().Add(grantTTL))
	}
	g.mu.Unlock()
	if g.redis == nil || len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	_, _ = g.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // without it the others ask the server
		for _, name := range names {
			p.Set(ctx, g.prefix+name, 1, grantTTL)
		}
		return nil
	})
}

// put keeps one grant. The caller holds mu.
func (g *grants) put(name string, until time.Time) {
	if len(g.until) >= maxGrants {
		clear(g.until)
	}
	g.until[name] = until
}

// end takes the grants away, on every replica before it returns.
func (g *grants) end(ctx context.Context, names []string) {
	for _, name := range names {
		g.forget(name)
	}
	if g.redis != nil {
		short, cancel := context.WithTimeout(ctx, grantPatience)
		_, _ = g.redis.Pipelined(short, func(p redis.Pipeliner) error {
			for _, name := range names {
				p.Del(short, g.prefix+name)
			}
			return nil
		})
		cancel()
	}
	// A correlation is about as many as a thousand bots, and each notice may wait for half a second.
	var ends errgroup.Group
	ends.SetLimit(endsAtOnce)
	for _, name := range names {
		ends.Go(func() error {
			g.board.Begin(ctx, board.Subject{Class: board.Grant, Name: name}).End(true)
			return nil
		})
	}
	_ = ends.Wait() // none fails
}

// forget takes a grant away here.
func (g *grants) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.until, name)
}

// noted tells the grants what the server's answer to the caller was.
func (p *Proxy) noted(ctx context.Context, a *ask, status int) {
	switch {
	case !a.private:
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		p.grants.end(context.WithoutCancel(ctx), p.grants.names(a))
	case status/100 == 2:
		p.grants.give(context.WithoutCancel(ctx), p.grants.names(a))
	}
}

// may reports whether a stored answer may be served to the caller. On a server that gives everyone the
// same it may; otherwise the caller needs a grant, or the answer was fetched without credentials.
func (a *ask) may(open bool) bool { return !a.private || open || a.granted }

// watchRefusal ends a caller's grant for a bot when the server refuses it something else about that bot.
func (p *Proxy) watchRefusal(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	bot := botOf(r.URL.EscapedPath()).Name
	caller := credentials(r.Header)
	if bot == "" || len(caller) == 0 || !strings.HasPrefix(strings.ToLower(r.URL.Path), "/api/bots/") {
		return w
	}
	return &tapped{ResponseWriter: w, onStatus: func(status int) {
		if status == http.StatusUnauthorized || status == http.StatusForbidden {
			p.grants.end(context.WithoutCancel(r.Context()), []string{p.grants.name(caller, "bot "+bot)})
		}
	}}
}

// ownCredentials are Warmfront's own, where the server asks for any; nil without.
func (p *Proxy) ownCredentials(ctx context.Context) http.Header {
	if p.isPublic() || !p.admin.Configured() {
		return nil
	}
	value, err := p.admin.Authorization(ctx)
	if err != nil {
		p.log.Warn("the server refuses the admin credentials", zap.Error(err))
		return nil
	}
	return http.Header{"Authorization": {value}}
}
