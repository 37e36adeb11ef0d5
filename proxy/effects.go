package proxy

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"warmfront/keying/rule"
	"warmfront/proxy/board"
)

// effect is what a request that passes through may change of what answers depend on.
type effect struct {
	subject board.Subject
	kind    effectKind
}

type effectKind int

const (
	noEffect      effectKind = iota
	writesBots               // saved bots, or their metrics
	deletesBots              // some bots, and nothing of the others
	startsSync               // rewrites price files, or stops doing so half-way
	clearsRows               // the server's own rows
	clearsMemory             // and the bars in its memory
	clearsBarOnly            // the bars only
)

// effectOf tells the effect of a request by its method and path, as the server reads them: Express minds neither case
// nor a trailing slash, and decodes only parameters (contract, trap 12). A path that could be a write in some other
// reading (decoded, cleaned) counts as one to all bots.
func effectOf(method, escapedPath string) effect {
	if method == http.MethodConnect {
		return effect{} // Node closes the connection, and no handler runs
	}
	e := effectAt(method, escapedPath)
	if e.kind != noEffect || !strings.Contains(escapedPath, "%") && !strings.Contains(escapedPath, "//") && !strings.Contains(escapedPath, "/.") {
		return e
	}
	decoded, err := url.PathUnescape(escapedPath)
	if err != nil {
		return e
	}
	if e = effectAt(method, path.Clean("/"+decoded)); e.subject.Class != board.Data {
		e.subject.Name = ""
	}
	return e
}

func effectAt(method, escapedPath string) effect {
	p := strings.TrimRight(strings.ToLower(escapedPath), "/")
	if under(p, "/api/waitlist") && (!safe(method) || p == "/api/waitlist/stats" && method != http.MethodOptions) {
		if rule.Off(rule.HiddenWrites) {
			return effect{}
		}
		return effect{board.Subject{Class: board.Bot}, deletesBots} // untagged private ones (contract, trap 24)
	}
	switch {
	case safe(method):
		return effect{}
	case under(p, "/api/bots"):
		if method == http.MethodPost && strings.Count(p, "/") == 3 {
			return effect{board.Subject{Class: board.Bot}, writesBots} // an import, or whatever else is no bot's name
		}
		return effect{botOf(escapedPath), writesBots}
	case under(p, "/api/admin"):
		return adminEffect(strings.TrimPrefix(p, "/api/admin"))
	case strings.HasPrefix(p, "/api/migrate"):
		return effect{board.Subject{Class: board.Bot}, writesBots}
	case under(p, "/api/download"), p == "/api/tickers/registry/download", p == "/api/tickers/download-specific":
		return effect{board.Subject{Class: board.Data}, startsSync}
	}
	return effect{}
}

// adminEffect is effectOf for what is below /api/admin. What is not known there may write to any bot.
func adminEffect(below string) effect {
	data := board.Subject{Class: board.Data}
	switch below {
	case "/config", "/eligibility", "/sync-schedule":
		return effect{}
	case "/cache/refresh":
		return effect{data, clearsRows}
	case "/cache/ticker-clear":
		return effect{data, clearsBarOnly}
	case "/cache/prewarm":
		return effect{board.Subject{Class: board.Metrics}, writesBots}
	}
	switch {
	case under(below, "/treasury"):
		return effect{}
	case under(below, "/cache"): // an invalidation, or whatever else there is
		return effect{data, clearsMemory}
	case under(below, "/sync-schedule"), under(below, "/tickers"): // run-now, kill, cleanup-inactive
		return effect{data, startsSync}
	}
	return effect{board.Subject{Class: board.Bot}, writesBots}
}

// safe reports whether Express only reads for the method; for HEAD it runs the handler of GET.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// under reports whether p is the prefix or below it.
func under(p, prefix string) bool {
	rest, ok := strings.CutPrefix(p, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// maxNamedBot bounds the ids that are remembered of writes, in bytes: anybody may make up one. A write to a
// longer one counts as one to all.
const maxNamedBot = 512

// botOf tells what a write under /api/bots concerns: a bot, only its saved metrics, or any bot.
func botOf(escaped string) board.Subject {
	segments := strings.Split(strings.TrimRight(escaped, "/"), "/")
	if len(segments) < 4 || segments[3] == "" || strings.Contains(escaped, "//") || strings.Contains(escaped, "/.") || strings.Contains(strings.ToLower(escaped), "%2e") {
		return board.Subject{Class: board.Bot}
	}
	id, err := url.PathUnescape(segments[3])
	if err != nil || len(id) > maxNamedBot {
		return board.Subject{Class: board.Bot}
	}
	if len(segments) == 5 && strings.EqualFold(segments[4], "metrics") {
		return board.Subject{Class: board.Metrics, Name: id}
	}
	return board.Subject{Class: board.Bot, Name: id}
}

// movesMetrics reports whether a request that is not intercepted may change saved metrics, and of which bot: "" for
// any. Saving the bot itself and making a new one leave them as they are.
func movesMetrics(method, escapedPath string) (bot string, moves bool) {
	e := effectOf(method, escapedPath)
	if e.kind != writesBots {
		return "", false
	}
	segments := strings.Count(strings.TrimRight(escapedPath, "/"), "/")
	bots := under(strings.ToLower(escapedPath), "/api/bots")
	if bots && e.subject.Class == board.Bot && (method == http.MethodPost && segments == 2 || method == http.MethodPut && segments == 3) {
		return "", false
	}
	return e.subject.Name, true
}
