package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"warmfront/keying"
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

	mu     sync.Mutex
	until  map[string]time.Time // grants
	barred map[string]time.Time // when the server refused
}

func newGrants(b *board.Board, client redis.UniversalClient, prefix string) *grants {
	return &grants{board: b, redis: client, prefix: prefix + "{board}:grant:", secret: rand.Text(), until: map[string]time.Time{}, barred: map[string]time.Time{}}
}

// A claim is what a request of a caller lets it have, if the server lets it have that. All names in it are of the
// caller.
type claim struct {
	name string   // of what is granted: the bot in the path, else the whole list of bots, else the route
	each []string // of the bots in the list
	bars []string // what a refusal of ends the claim besides: each, or a list that nobody has read
	// epochs tell whether anything of it was refused since the request came.
	epochs []uint64
}

// claim gives the claim of a request; nil for a caller without credentials. What a server lets somebody have of
// several bots at once says nothing about each: it may have looked at none, or have left some out.
func (g *grants) claim(a *ask) *claim {
	caller := a.caller
	if caller.anonymous() {
		return nil
	}
	c := &claim{}
	switch list := g.name(caller, "list"); {
	case a.bot != "":
		c.name = g.name(caller, "bot "+a.bot)
	case a.request != nil && len(a.request.Bots) > 0:
		for _, bot := range a.request.Bots {
			c.each = append(c.each, g.name(caller, "bot "+bot))
		}
		c.name = g.name(caller, "list "+a.route.Name+strings.Join(c.each, ""))
		c.bars = append(slices.Clip(c.each), list)
	case a.route.Kind == keying.Correlation:
		c.name = list
	default:
		c.name = g.name(caller, "route "+a.route.Name)
	}
	c.epochs = g.epochs(c)
	return c
}

// all are the claim's names.
func (c *claim) all() []string { return append([]string{c.name}, c.bars...) }

func (g *grants) epochs(c *claim) (epochs []uint64) {
	for _, name := range c.all() {
		epochs = append(epochs, g.board.Epoch(board.Grant, name))
	}
	return epochs
}

// name is a keyed hash of the caller and of what it is about.
func (g *grants) name(c caller, about string) string {
	secret := g.board.Secret()
	if secret == "" {
		secret = g.secret
	}
	mac := hmac.New(sha256.New, []byte(secret))
	for _, name := range slices.Sorted(maps.Keys(c.fields)) {
		fmt.Fprintf(mac, "%s %q\n", name, c.fields[name])
	}
	fmt.Fprintf(mac, "%q\n%s", c.query, about)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// hold reports whether the caller has what it claims: known here, or given on another replica. A replica that is
// cut off may have missed that a grant has ended.
func (g *grants) hold(ctx context.Context, c *claim) bool {
	if c == nil || !g.board.Sure() {
		return false
	}
	g.mu.Lock()
	has := g.has(c)
	g.mu.Unlock()
	if has || g.redis == nil {
		return has
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	names := c.all()
	values, left := make([]*redis.StringCmd, len(names)), make([]*redis.DurationCmd, len(names))
	_, err := g.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			values[i], left[i] = p.Get(ctx, g.prefix+name), p.PTTL(ctx, g.prefix+name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) || !slices.Equal(c.epochs, g.epochs(c)) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, name := range names {
		until := time.Now().Add(min(left[i].Val(), grantTTL))
		switch values[i].Val() {
		case granted:
			g.put(name, until)
		case refused:
			g.barred[name] = until.Add(-grantTTL)
		}
	}
	return g.has(c)
}

// has reports whether the claim holds by what is known here. The caller holds mu.
func (g *grants) has(c *claim) bool {
	now := time.Now()
	if until := g.until[c.name]; now.Before(until) {
		given := until.Add(-grantTTL)
		return !slices.ContainsFunc(c.bars, func(name string) bool {
			at, ok := g.barred[name]
			return ok && !at.Before(given)
		})
	}
	return len(c.each) > 0 && !slices.ContainsFunc(c.each, func(name string) bool { return !now.Before(g.until[name]) })
}

// give notes that the server has let the caller have what it claims, unless something of it was refused since
// the request came.
func (g *grants) give(ctx context.Context, c *claim) {
	g.mu.Lock()
	if !slices.Equal(c.epochs, g.epochs(c)) {
		g.mu.Unlock()
		return
	}
	g.put(c.name, time.Now().Add(grantTTL))
	g.mu.Unlock()
	g.share(ctx, granted, c.name)
}

// What Redis holds of a name, for as long as it counts.
const (
	granted = "1"
	refused = "0"
)

// share tells the other replicas; without it they ask the server.
func (g *grants) share(ctx context.Context, what string, names ...string) {
	if g.redis == nil || !g.board.InTouch() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	_, _ = g.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			p.Set(ctx, g.prefix+name, what, grantTTL)
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
	g.share(ctx, refused, names...)
	// A correlation is about as many as a thousand bots, and each notice may wait for half a second.
	var ends errgroup.Group
	ends.SetLimit(endsAtOnce)
	for _, name := range names {
		ends.Go(func() error {
			write := g.board.Begin(ctx, board.Subject{Class: board.Grant, Name: name})
			g.forget(name)
			write.End(true)
			return nil
		})
	}
	_ = ends.Wait()                 // none fails
	g.share(ctx, refused, names...) // what was given meanwhile was given before
}

// forget takes a grant away here, with all that is built on it.
func (g *grants) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.until, name)
	if len(g.barred) >= maxGrants {
		clear(g.barred)
		clear(g.until)
	}
	g.barred[name] = time.Now()
}

// watchRefusal ends a caller's grant for a bot when the server refuses it something else about that bot.
func (p *Proxy) watchRefusal(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	bot := botOf(r.URL.EscapedPath()).Name
	caller := p.creds.of(endToEnd(r.Header), r.URL.RawQuery)
	if bot == "" || caller.anonymous() || !strings.HasPrefix(strings.ToLower(r.URL.Path), "/api/bots/") {
		return w
	}
	return &tapped{ResponseWriter: w, onStatus: func(status int) {
		if status == http.StatusUnauthorized || status == http.StatusForbidden {
			p.grants.end(context.WithoutCancel(r.Context()), []string{p.grants.name(caller, "bot "+bot)})
		}
	}}
}
