package proxy

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"warmfront/keying/rule"
)

// passWriting passes a request that has an effect. All replicas know before the server has all of it, until its answer is
// here nothing of what it may change is believed, and all know of the end before the client does.
func (p *Proxy) passWriting(w http.ResponseWriter, r *http.Request, e effect) {
	naming := cleared{}
	if e.kind == clearsMemory {
		naming = namedBot(r)
	}
	ctx := context.WithoutCancel(r.Context())
	write := &writing{begin: func() func(int, bool) {
		saved := p.passesThrough(r)
		announced := p.board.Begin(ctx, e.subject)
		return func(status int, certain bool) {
			p.dataChanged(ctx, e.kind, naming, status, certain)
			announced.End(certain)
			saved(certain)
		}
	}}
	defer write.giveUp()
	outliving, over := outlive(r, p.cfg.UpstreamTimeout)
	defer over()
	held, ok := write.hold(w, outliving)
	if !ok {
		return
	}
	tap := &tapped{ResponseWriter: w}
	tap.onStatus = func(status int) {
		if !tap.failed() {
			write.answer(status)
		} else {
			write.giveUp()
		}
	}
	p.pass(tap, held, nil)
	if job := tap.job(); job != "" && e.kind == startsSync && !notTaken(tap.status) {
		p.data.JobStarted(ctx, job)
	}
}

// outlive gives the request such that it does not end with its client, but atMost so much later: what the server has in
// whole it does anyway, and only its answer tells what that was.
func outlive(r *http.Request, atMost time.Duration) (outliving *http.Request, over func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	timer := time.AfterFunc(time.Hour, func() { cancel(errUpstreamTimeout) })
	timer.Stop()
	stop := context.AfterFunc(r.Context(), func() { timer.Reset(atMost) })
	return r.WithContext(ctx), func() {
		stop()
		timer.Stop()
		cancel(nil)
	}
}

// dataChanged tells all replicas what a request did to the data or to the server's caches. One that the
// server refused did nothing.
func (p *Proxy) dataChanged(ctx context.Context, kind effectKind, what cleared, status int, certain bool) {
	if certain && notTaken(status) {
		return
	}
	switch {
	case kind == writesBots, kind == deletesBots:
	case kind == startsSync:
		p.data.SyncStarted(ctx)
	case !rule.Off(rule.AdminClears):
		bars := kind == clearsMemory && what.all && certain && status == http.StatusOK
		p.data.ServerCleared(ctx, what.bot, bars)
	}
}

// maxNaming bounds the body that may name a bot to clear, in bytes.
const maxNaming = 64 << 10

// cleared is what a request to clear the server's caches names: one bot, or all, or neither when that can't be told.
type cleared struct {
	bot string
	all bool
}

// namedBot reads the botId in a request's body as the server does: case by case, and nothing of a body that its parser
// skips. The body stays to be read.
func namedBot(r *http.Request) cleared {
	read, err := io.ReadAll(io.LimitReader(r.Body, maxNaming))
	r.Body = readAgain(read, r.Body)
	if err != nil || len(read) == maxNaming || len(read) > 0 && !readsBody(endToEnd(r.Header)) {
		return cleared{}
	}
	if len(read) == 0 {
		return cleared{all: true}
	}
	var named struct {
		BotID jsontext.Value `json:"botId"`
	}
	if json.Unmarshal(read, &named) != nil { // also when a name is there twice
		return cleared{}
	}
	switch id := named.BotID; {
	case len(id) == 0, id.Kind() == 'n', id.Kind() == 'f', string(id) == `""`: // falsy to the server
		return cleared{all: true}
	case id.Kind() == '"':
		text, err := jsontext.AppendUnquote(nil, id)
		if err == nil {
			return cleared{bot: string(text)}
		}
	}
	return cleared{}
}
