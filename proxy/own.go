package proxy

import (
	"encoding/json"
	"net/http"
	"strings"

	"warmfront/config"
	"warmfront/proxy/upstream"
)

// ownPrefix is the part of the address space that is Warmfront's and never forwarded.
const ownPrefix = "/_warmfront/"

// serveOwn answers Warmfront's own endpoints; path is what follows the prefix.
func (p *Proxy) serveOwn(w http.ResponseWriter, r *http.Request, path string) {
	switch path {
	case "healthz", "readyz", "metrics":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "use GET")
			return
		}
	}
	switch path {
	case "healthz":
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	case "readyz":
		p.serveReady(w)
	case "metrics":
		p.metrics.handler.ServeHTTP(w, r)
	case "", "stats", "events", "purge", "warm":
		// The admin endpoints come with later releases; without a token they are closed already.
		if !p.isAdmin(r) {
			writeError(w, http.StatusForbidden, "this endpoint takes the ADMIN_TOKEN as a bearer token")
			return
		}
		if path == "warm" && p.hooks.warm != nil {
			p.hooks.warm.ServeHTTP(w, r)
			return
		}
		writeError(w, http.StatusNotImplemented, "not built yet")
	default:
		writeError(w, http.StatusNotFound, "no such endpoint")
	}
}

// readiness is the body of readyz.
type readiness struct {
	Ready       bool    `json:"ready"`
	Upstream    string  `json:"upstream"` // up, down, unknown
	Redis       string  `json:"redis"`    // up, down, off
	RedisWhy    string  `json:"redisWhy,omitempty"`
	DataDate    *string `json:"dataDate"`
	Provisional bool    `json:"provisional"`
	Admin       string  `json:"admin"`            // ok, refused, not an admin, none; unknown before the server was asked
	Why         string  `json:"why,omitempty"`    // answers are kept for a short time only
	Remedy      string  `json:"remedy,omitempty"` // what to do about it
	Warm        any     `json:"warm"`

	Audit auditReport `json:"audit"`
}

// serveReady says yes once the upstream has answered, and goes on to while it is being redeployed:
// stored answers can be served meanwhile.
func (p *Proxy) serveReady(w http.ResponseWriter) {
	body := readiness{Upstream: "unknown", Admin: p.admin.State(), Audit: p.audit.state()}
	known := p.access.Known() || p.cfg.Access != config.AccessAuto
	if state, sure := p.data.Current(); state != nil {
		body.Ready, body.DataDate, body.Upstream = known, &state.Date, "down"
		if sure {
			body.Upstream = "up"
		}
		body.Provisional = state.Provisional
		body.Why, body.Remedy = p.doubt(state)
	} else if p.access.Known() && p.data.Tried() {
		body.Ready, body.Upstream = true, "up"
	}
	body.Redis, body.RedisWhy = p.redisHealth().state()
	body.Warm = map[string]bool{"running": false}
	if p.hooks.warmState != nil {
		body.Warm = p.hooks.warmState()
	}
	status := http.StatusOK
	if p.draining.Load() {
		body.Ready = false
	}
	if !body.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, body)
}

// doubt says why answers stay provisional once no sync is under way, and what would end that.
func (p *Proxy) doubt(s *upstream.DataState) (why, remedy string) {
	switch {
	case s.Provisional:
		return "", ""
	case s.Unproven != "" && p.admin.State() == upstream.AdminOK:
		return s.Unproven, "it is tried again by itself; a restart of the server ends it at once"
	case s.Unproven != "" && p.admin.Configured():
		return s.Unproven, "check UPSTREAM_EMAIL and UPSTREAM_PASSWORD: with an admin's login Warmfront clears the server's memory; a restart of the server ends it as well"
	case s.Unproven != "":
		return s.Unproven, "set UPSTREAM_EMAIL and UPSTREAM_PASSWORD to an admin's login, with which Warmfront clears the server's memory, or restart the server"
	case s.TablesStale:
		return "the server's benchmark tables are from before the last change of the data; benchmarks and sanity reports are kept for minutes", "restart the server: it loads them once in its life"
	}
	return "", ""
}

func (p *Proxy) isAdmin(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && p.cfg.AdminToken != "" && sameSecret(token, string(p.cfg.AdminToken))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
