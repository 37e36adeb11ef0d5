package proxy

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"warmfront/proxy/board"
)

func TestEffectsAreSeenInEverySpelling(t *testing.T) {
	bot := func(id string) effect { return effect{board.Subject{Class: board.Bot, Name: id}, writesBots} }
	metrics := func(id string) effect { return effect{board.Subject{Class: board.Metrics, Name: id}, writesBots} }
	hidden := effect{board.Subject{Class: board.Bot}, deletesBots}
	data := func(kind effectKind) effect { return effect{board.Subject{Class: board.Data}, kind} }
	for _, c := range []struct {
		method, target string
		want           effect
	}{
		{"GET", "/api/bots/b1", effect{}}, {"HEAD", "/api/bots/b1", effect{}}, {"OPTIONS", "/api/bots/b1", effect{}},
		{"POST", "/api/bots/import", bot("")}, {"PUT", "/api/bots/b1", bot("b1")}, {"DELETE", "/api/bots/b1/permanent", bot("b1")},
		{"POST", "/api/bots/b1/restore/", bot("b1")}, {"PUT", "/API/Bots/b1", bot("b1")}, {"PUT", "/api/bots/B1/", bot("B1")},
		{"PUT", "/api/bots/a%2Fb", bot("a/b")}, {"POST", "/api/bots", bot("")}, {"POST", "/api/bots/", bot("")},
		{"PUT", "/api//bots/b1", bot("")}, {"PUT", "/api/bots/../bots/b1", bot("")}, {"PUT", "/api/bots/%2e%2E/bots/b1", bot("")},
		{"POST", "/api/migrate/user-data", bot("")}, {"PUT", "/api/%62ots/b1", bot("")},
		{"PUT", "/api/bots/b1/%6detrics", bot("b1")}, {"PUT", "/api/status/..%2Fbots/b1", bot("")}, {"PUT", "/api/bots/a%zz", bot("")},
		{"PUT", "/api/bots/b1/metrics", metrics("b1")}, {"PUT", "/api/bots/b1/Metrics/", metrics("b1")}, {"PUT", "/api/bots/b1/x/metrics", bot("b1")},
		{"POST", "/api/admin/cache/prewarm", metrics("")}, {"POST", "/api/admin/something-new", bot("")}, {"POST", "/api/admin/%63ache/refresh", bot("")},
		{"POST", "/nope/bots", effect{}}, {"POST", "/api/v2/bots/b1", effect{}}, {"PUT", "/api/atlas/bots/b1", effect{}}, {"POST", "/api/botsy", effect{}},
		{"PUT", "/api/admin/config", effect{}}, {"PUT", "/api/admin/treasury/x", effect{}}, {"PUT", "/api/tickers", effect{}}, {"POST", "/bots", effect{}},
		{"GET", "/api/waitlist/stats", hidden}, {"HEAD", "/API/Waitlist/Stats/", hidden}, {"GET", "/api/%77aitlist/stats", hidden},
		{"POST", "/api/waitlist/join", hidden}, {"OPTIONS", "/api/waitlist/stats", effect{}}, {"GET", "/api/waitlist", effect{}},
		{"POST", "/api/auth/login", effect{}}, {"POST", "/api/live/orders", effect{}}, {"PUT", "/api/watchlists/1", effect{}},
		{"POST", "/api/admin/cache/invalidate", data(clearsMemory)}, {"POST", "/API/admin/cache/Invalidate/", data(clearsMemory)},
		{"POST", "/api/admin/cache/refresh", data(clearsRows)}, {"POST", "/api/admin/cache/ticker-clear", data(clearsBarOnly)},
		{"GET", "/api/admin/cache/stats", effect{}}, {"POST", "/api/admin/cache/whatever", data(clearsMemory)},
		{"POST", "/api/admin/sync-schedule/run-now", data(startsSync)}, {"PUT", "/api/admin/sync-schedule", effect{}},
		{"POST", "/api/admin/sync-schedule/kill", data(startsSync)}, {"POST", "/api/admin/tickers/cleanup-inactive", data(startsSync)},
		{"POST", "/api/tickers/registry/download", data(startsSync)}, {"POST", "/api/tickers/download-specific/", data(startsSync)},
		{"CONNECT", "/api/download", effect{}}, {"CONNECT", "/api//bots/b1", effect{}}, {"CONNECT", "/api/waitlist/stats", effect{}},
		{"POST", "/api/download", data(startsSync)}, {"DELETE", "/api/download/x", data(startsSync)}, {"GET", "/api/download/x", effect{}},
	} {
		if got := effectOf(c.method, c.target); got != c.want {
			t.Errorf("%s %s: effect %+v, want %+v", c.method, c.target, got, c.want)
		}
	}
}

// A serverWrite is a route of the server that writes, as Express matches it: by the undecoded path, whatever its case,
// with or without a slash at the end.
type serverWrite struct {
	method, path string
	class        board.Class
	kind         effectKind
}

var serverWrites = []serverWrite{
	{"POST", "/api/bots", board.Bot, writesBots},
	{"PUT", "/api/bots/:id", board.Bot, writesBots},
	{"DELETE", "/api/bots/:id", board.Bot, writesBots},
	{"POST", "/api/bots/:id/restore", board.Bot, writesBots},
	{"DELETE", "/api/bots/:id/permanent", board.Bot, writesBots},
	{"PUT", "/api/bots/:id/metrics", board.Metrics, writesBots},
	{"POST", "/api/migrate/user-data", board.Bot, writesBots},
	{"GET", "/api/waitlist/stats", board.Bot, deletesBots},
	{"POST", "/api/waitlist/join", board.Bot, deletesBots},
	{"POST", "/api/admin/cache/invalidate", board.Data, clearsMemory},
	{"POST", "/api/admin/cache/refresh", board.Data, clearsRows},
	{"POST", "/api/admin/cache/ticker-clear", board.Data, clearsBarOnly},
	{"POST", "/api/admin/cache/prewarm", board.Metrics, writesBots},
	{"POST", "/api/admin/sync-schedule/run-now", board.Data, startsSync},
	{"POST", "/api/admin/sync-schedule/kill", board.Data, startsSync},
	{"POST", "/api/admin/tickers/cleanup-inactive", board.Data, startsSync},
	{"POST", "/api/download", board.Data, startsSync},
	{"DELETE", "/api/download/:job", board.Data, startsSync},
	{"POST", "/api/tickers/registry/download", board.Data, startsSync},
	{"POST", "/api/tickers/download-specific", board.Data, startsSync},
}

func (w serverWrite) matches(method, escapedPath string) (id string, ok bool) {
	pattern := "(?i)^" + regexp.MustCompile(":[a-z]+").ReplaceAllString(w.path, "([^/]+?)") + "/?$"
	m := regexp.MustCompile(pattern).FindStringSubmatch(escapedPath)
	if m == nil || method != w.method && !(method == http.MethodHead && w.method == http.MethodGet) {
		return "", false
	}
	if len(m) == 1 {
		return "", true
	}
	id, err := url.PathUnescape(m[1])
	return id, err == nil // Express answers 400 to what it can't decode
}

func FuzzEveryWriteOfTheServerCountsAsOne(f *testing.F) {
	for _, w := range serverWrites {
		f.Add(w.method, strings.NewReplacer(":id", "b%2F1", ":job", "j").Replace(w.path))
	}
	f.Add("POST", "/nope/bots")
	f.Add("PUT", "/api//bots/%2e%2e/x")
	f.Add("HEAD", "/API/waitlist/Stats/")
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || u.Opaque != "" {
			return
		}
		escaped := u.EscapedPath()
		e := effectOf(method, escaped)
		for _, w := range serverWrites {
			id, matches := w.matches(method, escaped)
			if !matches {
				continue
			}
			// A write to a bot counts for its metrics too, and one to any bot for each.
			covers := e.subject.Class == w.class || w.class == board.Metrics && e.subject.Class == board.Bot
			if all := e.subject.Name == ""; e.kind != w.kind || !covers || !all && (e.subject.Name != id || id == "") {
				t.Errorf("%s %s is %s %s of %q to the server; its effect is taken for %+v", method, escaped, w.method, w.path, id, e)
			}
		}
		if e.kind != noEffect && !strings.Contains(strings.ToLower(u.Path), "api") {
			t.Errorf("%s %s is outside of /api and has the effect %+v", method, escaped, e)
		}
	})
}
