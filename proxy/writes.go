package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
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
	startsSync               // rewrites price files, or stops doing so half-way
	clearsRows               // the server's own rows
	clearsMemory             // and the bars in its memory
	clearsBarOnly            // the bars only
)

// effectOf tells the effect of a request by its method and path. Express minds neither case nor a
// trailing slash, so an unusual spelling is a write all the same (contract, trap 12).
func effectOf(r *http.Request) effect {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return effect{}
	}
	path := strings.TrimRight(strings.ToLower(r.URL.Path), "/")
	data := board.Subject{Class: board.Data}
	switch path {
	case "/api/admin/cache/invalidate":
		return effect{data, clearsMemory}
	case "/api/admin/cache/refresh":
		return effect{data, clearsRows}
	case "/api/admin/cache/ticker-clear":
		return effect{data, clearsBarOnly}
	case "/api/admin/cache/prewarm":
		return effect{board.Subject{Class: board.Metrics}, writesBots}
	case "/api/admin/sync-schedule/run-now", "/api/admin/sync-schedule/kill", "/api/download", "/api/tickers/registry/download",
		"/api/tickers/download-specific", "/api/admin/tickers/cleanup-inactive":
		return effect{data, startsSync}
	}
	switch {
	case strings.HasPrefix(path, "/api/download/"):
		return effect{data, startsSync}
	case strings.HasPrefix(path, "/api/admin/cache/"): // whatever else it does there
		return effect{data, clearsMemory}
	case strings.HasPrefix(path, "/api/migrate"):
		return effect{board.Subject{Class: board.Bot}, writesBots}
	case r.Method == http.MethodPost && strings.HasPrefix(path, "/api/bots/") && strings.Count(path, "/") == 3:
		return effect{board.Subject{Class: board.Bot}, writesBots} // an import, or whatever else is no bot's name
	case path == "/api/bots", strings.HasPrefix(path, "/api/bots/"):
		return effect{botOf(r.URL.EscapedPath()), writesBots}
	case strings.Contains(path, "bots"): // whatever else names bots in a way that is not known here
		return effect{board.Subject{Class: board.Bot}, writesBots}
	}
	return effect{}
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

// passWriting passes a request that has an effect. All replicas know before the server does, until its
// answer is here nothing of what it may change is believed, and all know of the end before the client does.
func (p *Proxy) passWriting(w http.ResponseWriter, r *http.Request, e effect) (answered bool) {
	bot := ""
	if e.kind == clearsMemory {
		bot = namedBot(r)
	}
	ctx := context.WithoutCancel(r.Context())
	write := p.board.Begin(r.Context(), e.subject)
	tap := &tapped{ResponseWriter: w}
	ended := false
	end := func(certain bool) {
		if !ended {
			ended = true
			p.dataChanged(ctx, e.kind, bot, tap.status, certain)
			write.End(certain)
		}
	}
	tap.onStatus = func(int) { end(!tap.failed()) }
	defer end(false) // it ended in a panic: its client has left, and it may have its effect yet
	answered = p.pass(tap, r, nil)
	if job := tap.job(); job != "" && e.kind == startsSync {
		p.data.JobStarted(ctx, job)
	}
	return answered
}

// dataChanged tells all replicas what a request did to the data or to the server's caches. One that the
// server refused did nothing.
func (p *Proxy) dataChanged(ctx context.Context, kind effectKind, bot string, status int, certain bool) {
	if certain && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound) {
		return
	}
	switch {
	case kind == writesBots:
	case kind == startsSync:
		p.data.SyncStarted(ctx)
	case !rule.Off(rule.AdminClears):
		p.data.ServerCleared(ctx, bot, kind == clearsMemory && bot == "" && certain && status == http.StatusOK)
	}
}

// maxNaming bounds the body that may name a bot to clear, in bytes.
const maxNaming = 64 << 10

// namedBot gives the botId in a request's body; "" when there is none, or none that can be told. The
// body stays to be read.
func namedBot(r *http.Request) string {
	read, err := io.ReadAll(io.LimitReader(r.Body, maxNaming))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), r.Body), r.Body}
	var named struct {
		BotID string `json:"botId"`
	}
	if err != nil || len(read) == maxNaming || json.Unmarshal(read, &named) != nil {
		return ""
	}
	return named.BotID
}

// tapped keeps the beginning of an answer on its way.
type tapped struct {
	http.ResponseWriter
	status   int
	body     []byte
	onStatus func(int) // called before the status is sent on; nil for none
	going    *passing
}

// maxTapped bounds what is kept of an answer, in bytes.
const maxTapped = 64 << 10

func (t *tapped) WriteHeader(status int) {
	if t.status == 0 && status >= http.StatusOK {
		t.status = status
		if t.onStatus != nil {
			t.onStatus(status)
		}
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tapped) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	t.body = append(t.body, b[:min(len(b), maxTapped-len(t.body))]...)
	return t.ResponseWriter.Write(b)
}

// failed reports whether the answer is ours, for a server that gave none.
func (t *tapped) failed() bool { return t.going != nil && t.going.failed }

// Unwrap lets http.ResponseController flush.
func (t *tapped) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// job is the id of the download job that an answer names; "" for none.
func (t *tapped) job() string {
	var started struct {
		JobID string `json:"jobId"`
	}
	body := t.body
	if strings.EqualFold(t.Header().Get("Content-Encoding"), "gzip") {
		plain, err := gunzip(body, maxTapped)
		if err != nil {
			return ""
		}
		body = plain
	}
	if json.Unmarshal(body, &started) != nil || len(started.JobID) > 200 {
		return ""
	}
	return started.JobID
}
