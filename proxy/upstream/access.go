package upstream

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
	"warmfront/keying/rule"
	"warmfront/proxy/board"
)

// accessInterval is how often a route is asked whether it answers callers without credentials.
const accessInterval = 5 * time.Minute

// Access knows on which routes the server answers everyone alike: where a request without any credential has succeeded
// since the server last refused somebody there (see stance). Refusals are shared by the board; of successes the
// replicas tell each other by the entries that were fetched so, which carry the stamp.
type Access struct {
	client *Client
	board  *board.Board
	log    *zap.Logger
	probes *probes
	known  atomic.Bool // the server has answered a probe

	mu     sync.Mutex
	ended  map[string]bool // routes on which somebody was refused at some time
	routes map[string]*stance
}

// everywhere is the stance on callers without credentials from an address that is nobody's. Where the server refuses
// these anything, a user's success may be due to its address, and proves nothing on any route: only theirs do.
const everywhere = "*"

// A Place is where a caller asks: a route and the saved bots that the request names.
type Place struct{ Route, Bots string }

// PlaceOf gives the place of a request.
func PlaceOf(route *keying.Route, bots []string) Place {
	if len(bots) == 0 {
		return Place{Route: route.Name}
	}
	return Place{route.Name, strings.Join(bots, "\x00")}
}

// NewAccess asks through c, about the canary, and takes in what else c is answered. While nothing is known no route is public.
func NewAccess(c *Client, b *board.Board, canary string, log *zap.Logger) *Access {
	a := &Access{client: c, board: b, log: log, probes: newProbes(canary), ended: map[string]bool{}, routes: map[string]*stance{}}
	c.asking = a.asking
	return a
}

// Known reports whether the server has answered a probe.
func (a *Access) Known() bool { return a.known.Load() }

// Asks reports whether the server is known to ask callers for credentials.
func (a *Access) Asks() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.routes {
		if s.isClosed() {
			return true
		}
	}
	return false
}

// Serves reports whether stored answers about the place serve a caller that the server has not let have one.
func (a *Access) Serves(p Place, anonymous bool) bool {
	if rule.Off(rule.RouteProven) {
		return true
	}
	stamp := a.board.Stamp(p.Route)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stance(p.Route).serves(p.Bots, stamp, anonymous) {
		return false
	}
	a.probes.inUse[p.Route] = true
	return true
}

// Closed reports whether callers without credentials don't speak for each other on the route.
func (a *Access) Closed(route string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stance(everywhere).isClosed() || a.stance(route).isClosed()
}

// Stamp is what a success has to have begun under, and to end under.
func (a *Access) Stamp(route string) board.Stamp { return a.board.Stamp(route) }

// Succeeded notes a success of the caller, whose request began under the stamp. It gives the stamp to keep with the
// answer if that is everyone's, for as long as nobody is refused; none otherwise.
func (a *Access) Succeeded(p Place, w Who, began board.Stamp) board.Stamp {
	now := a.board.Stamp(p.Route)
	a.mu.Lock()
	forgiven := a.stance(p.Route).forgive(w)
	proven := began == now && (w == stranger || !a.stance(everywhere).isClosed()) && a.stance(p.Route).succeed(w, p.Bots, now)
	if w.Anonymous && w != stranger && a.stance(everywhere).isClosed() {
		a.want(everywhere, strangersInterval) // it may be open again
	}
	a.mu.Unlock()
	if forgiven {
		a.board.Post(callerNotice(p.Route, w, letIn))
	}
	if !proven {
		return board.Stamp{}
	}
	return now
}

// Shown notes that an answer about the place was fetched without credentials under the stamp, on whichever replica, and
// reports whether that shows it to be everyone's.
func (a *Access) Shown(p Place, stamp string, anonymous bool) bool {
	now := a.board.Stamp(p.Route)
	if stamp == "" || stamp != now.String() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.stance(everywhere).isClosed() && a.stance(p.Route).succeed(Who{Anonymous: true}, p.Bots, now) &&
		a.stance(p.Route).serves(p.Bots, now, anonymous)
}

// Hidden forgets what showed the place to be public: the server no longer shows the bots to everyone.
func (a *Access) Hidden(p Place) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.stance(p.Route).proofs, p.Bots)
}

// Refused notes that the server has refused the caller on the route. When it returns, all replicas know, and nothing that
// was stored there serves anybody without a grant before another success.
func (a *Access) Refused(ctx context.Context, route string, w Who) {
	a.mu.Lock()
	// Whoever is known to be refused without credentials keeps the route from being public already, everywhere.
	closed := w.Anonymous && a.stance(route).refused[w]
	news := a.stance(route).refuse(w)
	clear(a.stance(route).proofs) // their stamp is of the past
	a.ended[route] = true
	a.mu.Unlock()
	if closed || rule.Off(rule.RefusalShared) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if news {
		a.log.Info("the server has refused a caller; on this route stored answers serve whom it lets have them",
			zap.String("route", route), zap.Bool("credentials", !w.Anonymous))
		a.board.Begin(ctx, callerNotice(route, w, refused)).End(true)
	}
	a.end(ctx, route)
}

// end has what was proven on the route count no more, on every replica before it returns.
func (a *Access) end(ctx context.Context, route string) {
	if route != everywhere {
		a.board.Begin(ctx, board.Subject{Class: board.Access, Name: route}).End(true)
		return
	}
	var ends sync.WaitGroup
	for _, each := range keying.Routes() {
		ends.Go(func() { a.end(ctx, each.Name) })
	}
	ends.Wait()
}

// What a notice says of a caller.
const (
	refused = "r"
	letIn   = "l"
)

// callerNotice spells who was refused on a route, or let in again. Notices are read in their order: the last one counts.
func callerNotice(route string, w Who, what string) board.Subject {
	kind := "credentials"
	if w.Anonymous {
		kind = "address"
	}
	return board.Subject{Class: board.Caller, Name: strings.Join([]string{what, route, kind, w.ID}, "\n")}
}

// Hear takes in that another replica has seen somebody refused on the route. What was proven there has another stamp.
func (a *Access) Hear(route string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended[route] = true
}

// HearOf takes in what another replica has seen of a caller.
func (a *Access) HearOf(name string) {
	parts := strings.SplitN(name, "\n", 4)
	if len(parts) != 4 {
		return
	}
	w := Who{ID: parts[3], Anonymous: parts[2] == "address"}
	a.mu.Lock()
	defer a.mu.Unlock()
	if parts[0] == letIn {
		a.stance(parts[1]).forgive(w)
	} else {
		a.stance(parts[1]).refuse(w)
	}
}

// TellAgain puts up what Redis may have lost.
func (a *Access) TellAgain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for route := range a.ended {
		a.board.Post(board.Subject{Class: board.Access, Name: route})
	}
	for route, s := range a.routes {
		for w := range s.refused {
			a.board.Post(callerNotice(route, w, refused))
		}
	}
}

// stance gives that of a route. The caller holds mu.
func (a *Access) stance(route string) *stance {
	s := a.routes[route]
	if s == nil {
		s = newStance()
		a.routes[route] = s
	}
	return s
}
