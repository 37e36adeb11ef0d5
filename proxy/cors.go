package proxy

import (
	"maps"
	"net/http"
	"net/url"
	"strings"

	"warmfront/proxy/upstream"
)

// corsOf gives the CORS fields for whoever asks; with an error, those last seen, nil if none were.
func (p *Proxy) corsOf(a *ask) (http.Header, error) {
	cors, err := p.origins.Headers(a.in.Context(), a.origin, p.awaitsOrigin(a))
	if err != nil {
		cors = p.origins.Remembered(a.origin)
	}
	return cors, err
}

// awaitsOrigin reports whether a hit waits for as long as it takes to learn the CORS fields of an Origin that was never
// seen. A server that is busy takes seconds; a hit that does not wait goes out without Access-Control-Allow-Origin, so that
// no browser hands it to a script of another origin, and with Vary: Origin. That is right for
//   - a request without an Origin, and one whose Origin is where it went to: browsers check none of its fields;
//   - one that a browser sends only after a preflight (Fetch, section 4.8): the server has answered that, through
//     this Warmfront, which learned the fields from it. With several replicas Redis tells the one that it came by.
//     While Redis is there but away it can't, and right comes before fast.
//
// Anything else is a request of another origin's that comes without warning, such as a GET: without its fields the
// browser would take it for refused.
func (p *Proxy) awaitsOrigin(a *ask) bool {
	switch {
	case a.origin == "", isSameOrigin(a):
		return false
	case isPreflighted(a):
		return !p.board.InTouch()
	}
	return true
}

// isPreflighted reports whether a browser asks the server's leave before it sends such a request to another origin.
func isPreflighted(a *ask) bool {
	return len(a.sent["Content-Type"]) > 0 && readsBody(a.sent) || len(a.sent["Authorization"]) > 0
}

// isSameOrigin reports whether the Origin is the host that the client addressed.
func isSameOrigin(a *ask) bool {
	u, err := url.Parse(a.origin)
	if err != nil || u.Host == "" {
		return false
	}
	hosts := append([]string{a.in.Host}, a.sent["X-Forwarded-Host"]...)
	for _, host := range hosts {
		if strings.EqualFold(withoutPort(u.Host, u.Scheme), withoutPort(host, u.Scheme)) {
			return true
		}
	}
	return false
}

// withoutPort takes the scheme's own port off.
func withoutPort(host, scheme string) string {
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// putHeader puts the header of an answer that is not kept into h. To those who joined another's call go the CORS
// fields of their own Origin.
func (p *Proxy) putHeader(h http.Header, a *ask, raw *rawAnswer, joined bool) {
	for name, values := range raw.header {
		if !joined || !upstream.IsCORS(name) {
			h[name] = values
		}
	}
	if joined {
		cors, _ := p.corsOf(a)
		maps.Copy(h, cors)
	}
}

// learnsOrigin learns the CORS fields of an Origin from an answer that is passed through: those of /api come from one
// middleware, which does not mind the route. The Origin is the one that went out.
func learnsOrigin(origins *upstream.Origins, res *http.Response) {
	shown := res.Request.Header["Origin"]
	if res.StatusCode/100 != 2 || !strings.HasPrefix(res.Request.URL.Path, "/api/") || len(shown) > 1 || !variesAsUsual(res.Header) {
		return
	}
	origin := ""
	if len(shown) == 1 {
		if origin = shown[0]; origin == "" {
			return
		}
	}
	if res.Request.Method != http.MethodOptions {
		origins.Learn(origin, res.Header)
	} else if len(res.Request.Header["Access-Control-Request-Method"]) > 0 && origin != "" {
		origins.LearnPreflight(origin, res.Header)
	}
}

// variesAsUsual reports whether an answer depends on nothing but what that middleware, and compression, go by.
func variesAsUsual(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.ToLower(strings.TrimSpace(name)); {
			case name == "", name == "origin", name == "accept-encoding", strings.HasPrefix(name, "access-control-request-"):
			default:
				return false
			}
		}
	}
	return true
}
