package proxy

import (
	"context"
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"warmfront/config"
	"warmfront/proxy/board"
	"warmfront/proxy/store"
	"warmfront/proxy/upstream"
)

// place is where the caller asks.
func (a *ask) place() upstream.Place { return upstream.PlaceOf(a.route, a.request.Bots) }

// findsOut reports whether the server shows whom answers are for (ACCESS=auto).
func (p *Proxy) findsOut() bool {
	return p.cfg.Access != config.AccessPublic && p.cfg.Access != config.AccessGranted
}

// admit finds out whom stored answers to the request serve, and with whose credentials the server is to be asked about
// the bots: the caller's, where it may have a bot only by these.
func (p *Proxy) admit(ctx context.Context, a *ask) {
	a.private = p.cfg.Access != config.AccessPublic
	if p.findsOut() {
		a.private = !p.access.Serves(a.place(), a.caller.anonymous())
	}
	if !a.private {
		return
	}
	if p.findsOut() && (!a.caller.anonymous() || p.access.Closed(a.route.Name)) {
		p.access.Want(a.route.Name)
	}
	a.bots.Credentials = a.caller.fields
	a.claim = p.grants.claim(a)
	a.granted = p.grants.hold(ctx, a.claim)
}

// hides is called when the server has shown a bot to nobody without credentials, though what is stored about it serves
// everyone: then it does no longer, and the caller may have a bot by its own.
func (p *Proxy) hides(ctx context.Context, a *ask) bool {
	if a.private || !p.findsOut() || a.caller.anonymous() {
		return false
	}
	p.access.Hidden(a.place())
	p.admit(ctx, a)
	return a.private
}

// entitled reports whether stored answers to the request serve its caller, whoever they were fetched for.
func (a *ask) entitled() bool { return !a.private || a.granted }

// may reports whether the stored answer serves the caller.
func (p *Proxy) may(a *ask, e *store.Entry) bool {
	return a.entitled() || p.findsOut() && p.access.Shown(a.place(), e.Open, a.caller.anonymous())
}

// opens is called when the server's answer to the request shows that it succeeded. It gives the stamp under which the
// answer is everyone's; empty if it is not.
func (p *Proxy) opens(a *ask) string {
	if !p.findsOut() {
		return ""
	}
	return p.access.Succeeded(a.place(), p.whoAsks(a), a.access).String()
}

// whoAsks names the caller: by its credentials and what it asks for, or without any by its address, as the server gets to
// see it.
func (p *Proxy) whoAsks(a *ask) upstream.Who {
	if a.caller.anonymous() {
		return upstream.Who{ID: p.grants.name(a.caller, "address "+addressOf(a.in)), Anonymous: true}
	}
	return upstream.Who{ID: p.grants.name(a.caller, "asks "+a.in.URL.EscapedPath())}
}

// addressOf is what forwardedFields tells the server of the client's address.
func addressOf(r *http.Request) string {
	if values := r.Header["X-Forwarded-For"]; len(values) > 0 {
		return strings.Join(values, ",")
	}
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return peer
}

// company names those whose call to the server a caller may share: everyone whom stored answers serve; those with the same
// credentials; and those without any, as long as the server has refused none of them. Who comes after a call has shown the
// route to be public, and before its answer is kept, joins those who came before. ok is false for a caller who shares with
// nobody: what lets it in may be its address.
func (p *Proxy) company(a *ask) (name string, ok bool) {
	anybody := p.findsOut() && a.access != (board.Stamp{}) && !p.access.Closed(a.route.Name)
	switch {
	case anybody && (!a.private || a.claim == nil):
		return "anybody " + a.access.String() + " ", true
	case a.entitled():
		return "", true
	case a.claim != nil:
		return "caller " + a.claim.name + " ", true
	}
	return "", false
}

// sharesWidely reports whether answers to callers elsewhere may serve this one.
func (p *Proxy) sharesWidely(a *ask) bool {
	_, ok := p.company(a)
	return ok && (a.entitled() || a.claim == nil)
}

// noted takes in what the server's answer to the caller was, before the caller gets to know.
func (p *Proxy) noted(ctx context.Context, a *ask, status int) {
	if p.cfg.Access == config.AccessPublic {
		return
	}
	ctx = context.WithoutCancel(ctx)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		if p.findsOut() {
			p.access.Refused(ctx, a.route.Name, p.whoAsks(a))
		}
		if a.claim != nil {
			p.grants.end(ctx, a.claim.all())
		}
	case status/100 == 2 && a.private && a.claim != nil:
		p.grants.give(ctx, a.claim)
	}
}

// ownCredentials are Warmfront's own, where the server asks for any; nil without. Where it does not, Warmfront's
// successes show that it does not.
func (p *Proxy) ownCredentials(ctx context.Context) http.Header {
	asked := p.cfg.Access == config.AccessGranted || p.findsOut() && p.access.Asks()
	if !asked || !p.admin.Configured() {
		return nil
	}
	value, err := p.admin.Authorization(ctx)
	if err != nil {
		p.log.Warn("the server refuses the admin credentials", zap.Error(err))
		return nil
	}
	return http.Header{"Authorization": {value}}
}
