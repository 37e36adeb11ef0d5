package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"warmfront/proxy/board"
	"warmfront/proxy/store"
)

// runBacktest is the route whose every run saves the bot's metrics (contract, trap 7).
const runBacktest = "run-backtest"

// background is what goes on behind the answers. No answer waits for any of it.
type background struct {
	audit     *audit
	writeback *writeback // nil without METRICS_WRITEBACK
	// beginWrite hears before, and end after, something of our own moves a bot's saved metrics. Unless it is
	// certain that the server is done with it, it may move them yet.
	beginWrite func(bot string) (end func(certain bool))
}

func (p *Proxy) startBackground(shared redis.UniversalClient) {
	p.beginWrite = func(bot string) func(bool) {
		write := p.board.Begin(context.Background(), board.Subject{Class: board.Metrics, Name: bot})
		return write.End
	}
	p.audit = newAudit(p)
	p.audit.onDrop = func(key string) { p.board.Post(board.Subject{Class: board.Key, Name: key}) }
	if p.cfg.MetricsWriteback {
		p.writeback = newWriteback(p)
		p.writeback.leases, p.writeback.current = p.leases, func() bool { return !p.board.CutOff() }
		p.writeback.last = newLastAnswers(shared, p.board.InTouch, p.cfg.RedisPrefix, p.cfg.CacheTTL+p.cfg.StaleTTL)
		p.writeback.tell = func(bot string) { p.board.Post(board.Subject{Class: board.Answer, Name: bot}) }
	}
}

// closeBackground ends the audit and waits for the write-back, but leaves some of ctx's time to
// whoever closes next.
func (p *Proxy) closeBackground(ctx context.Context) {
	p.audit.close()
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/4)
		defer cancel()
	}
	p.writeback.close(ctx)
}

// hits is called when a stored answer is about to be served as a hit. A client may take its time to read it, and
// others be answered meanwhile.
func (p *Proxy) hits(a *ask, e *store.Entry) {
	switch {
	case a.route.Name != runBacktest:
	case isWarming(a.in.Context()):
		p.writeback.warmHit(a.request.Bot, e)
	default:
		p.writeback.hit(a.request.Bot, e)
	}
}

// hasHit is called when it has been served.
func (p *Proxy) hasHit(a *ask, e *store.Entry) {
	if !isWarming(a.in.Context()) {
		p.audit.consider(a, e)
	}
}

// fillFor fills for users who wait, and notes what that makes of the bot's saved metrics.
func (p *Proxy) fillFor(ctx context.Context, a *ask) *result {
	if a.route.Name != runBacktest {
		return p.fill(ctx, a)
	}
	p.writeback.begin(a.request.Bot)
	end := ending{unsure: true}
	defer func() { p.writeback.end(a.request.Bot, end) }()
	res := p.fill(ctx, a)
	if res.answer != nil && res.answer.broken == nil {
		end = ending{saved: res.entry, last: res.answer.status == http.StatusOK, warmed: isWarming(a.in.Context())}
	}
	return res
}

// passesAsked is called when an intercepted request goes to the server past the cache; the function
// that it gives, when the answer is over, and whether there was one.
func (p *Proxy) passesAsked(a *ask) (end func(answered bool)) {
	if a.route.Name != runBacktest {
		return func(bool) {}
	}
	ended := p.writeback.passes(a.bot)
	return func(answered bool) { ended(!answered || a.in.Context().Err() != nil) }
}

// passesThrough is the same for what is not intercepted: some of it moves saved metrics.
func (p *Proxy) passesThrough(r *http.Request) (end func(answered bool)) {
	bot, moves := movesMetrics(r.Method, r.URL.EscapedPath())
	switch {
	case !moves:
		return func(bool) {}
	case bot == "":
		p.writeback.forgetAll()
		return func(bool) { p.writeback.forgetAll() }
	}
	ended := p.writeback.passes(bot)
	return func(answered bool) { ended(!answered) }
}
