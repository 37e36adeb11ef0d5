package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"warmfront/keying"
	"warmfront/proxy/board"
)

// ErrNoRevision means that the server showed no such bot, or nothing of it that tells one revision
// from another. Answers about it are passed, never stored.
var ErrNoRevision = errors.New("upstream shows no revision of the bot")

const (
	// maxBots bounds how many bots' revisions are remembered.
	maxBots = 50_000
	// revisionFetches bounds the requests that one correlation over many bots has under way.
	revisionFetches = 4
)

// Bots names those on which an answer depends.
type Bots struct {
	IDs     []string
	Metrics bool // their saved metrics count
	Absent  bool // that one isn't there is as good as a revision of it, to a caller without credentials
	// Credentials are the caller's, for a server that shows bots to some only.
	Credentials http.Header
}

// Revisions remembers what the server said of each saved bot, for interval, unless the board tells of
// a write to it. A hit does not wait for a server that is busy to say it again: up to longest the last is believed while
// the next is asked for behind the answer.
type Revisions struct {
	client   *Client
	interval time.Duration
	longest  time.Duration
	board    *board.Board
	fetches  singleflight.Group
	turns    *turns[keying.Revision]
	behind   *behind

	mu    sync.Mutex
	known map[string]*knownBot
}

// knownBot is what is remembered of one bot.
type knownBot struct {
	revision keying.Revision
	owner    string
	fetched  time.Time
	epoch    epoch // as the fetch began
	mixed    bool  // its metrics may have been written meanwhile
}

// epoch is the last write to a bot, and the last to its metrics.
type epoch struct{ bot, metrics uint64 }

// NewRevisions asks through c and believes an answer for interval, and for longest while the server is too busy to be asked.
func NewRevisions(c *Client, interval, longest time.Duration, b *board.Board) *Revisions {
	return &Revisions{client: c, interval: interval, longest: longest, board: b, behind: newBehind(), turns: newTurns[keying.Revision](), known: map[string]*knownBot{}}
}

// Close ends what is being asked for behind answers.
func (r *Revisions) Close() { r.behind.close() }

// Epochs tells which write to each bot was the last seen; a fill compares them before and after.
type Epochs []epoch

// Epochs of the bots, in order. still reports whether no write to any of them is under way.
func (r *Revisions) Epochs(bots Bots) (e Epochs, still bool) {
	if len(bots.IDs) == 0 {
		return nil, true
	}
	e, still = make(Epochs, len(bots.IDs)), true
	for i, id := range bots.IDs {
		e[i] = r.epoch(id)
		if !bots.Metrics {
			e[i].metrics = 0
		}
		still = still && r.still(id, bots.Metrics)
	}
	return e, still
}

func (r *Revisions) epoch(id string) epoch {
	return epoch{r.board.Epoch(board.Bot, id), r.board.Epoch(board.Metrics, id)}
}

func (r *Revisions) still(id string, metrics bool) bool {
	return !r.board.Writing(board.Bot, id) && (!metrics || !r.board.Writing(board.Metrics, id))
}

// Of gives the revisions in order, believed ones or fetched now. sure is false when the server can't
// be reached and the last known ones are given instead: good only for finding what may be served
// stale. The error wraps ErrNoRevision, ErrDown or the context's.
func (r *Revisions) Of(ctx context.Context, bots Bots) (revisions []keying.Revision, sure bool, err error) {
	if len(bots.IDs) == 0 {
		return nil, true, nil
	}
	revisions = make([]keying.Revision, len(bots.IDs))
	missing, err := r.believed(ctx, bots, revisions)
	if len(missing) == 0 && err == nil {
		return revisions, true, nil
	}
	// Whoever waits for the server here waits for it once: the call that may follow has what is left of its time.
	limited, cancel := context.WithTimeout(ctx, r.client.timeout)
	defer cancel()
	g, gctx := errgroup.WithContext(limited)
	g.SetLimit(revisionFetches)
	if err != nil {
		missing = nil
	}
	for _, i := range missing {
		g.Go(func() (err error) {
			revisions[i], err = r.shared(gctx, bots, bots.IDs[i])
			return err
		})
	}
	if err = errors.Join(err, g.Wait()); err == nil {
		return revisions, true, nil
	}
	if ctx.Err() == nil && !errors.Is(err, ErrNoRevision) && r.lastKnown(bots.IDs, revisions) {
		return revisions, false, nil
	}
	return nil, false, err
}

// Fetch asks for the revisions now, each with a request that begins after this call.
func (r *Revisions) Fetch(ctx context.Context, bots Bots) ([]keying.Revision, error) {
	revisions := make([]keying.Revision, len(bots.IDs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(revisionFetches)
	for i := range bots.IDs {
		g.Go(func() (err error) {
			revisions[i], err = r.afresh(ctx, bots, bots.IDs[i])
			return err
		})
	}
	return revisions, g.Wait()
}

// holds reports whether no write has come between a fetch and now.
func (r *Revisions) holds(k *knownBot, id string, metrics bool) bool {
	now := r.epoch(id)
	return k.epoch.bot == now.bot && (!metrics || !k.mixed && k.epoch.metrics == now.metrics) && r.still(id, metrics)
}

func (r *Revisions) lastKnown(ids []string, into []keying.Revision) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, id := range ids {
		k := r.known[id]
		if k == nil {
			return false
		}
		into[i] = k.revision
	}
	return true
}

// shared joins a fetch that is under way for the same bot since the same last write. Where writes may
// go unseen, it must be one that begins now.
func (r *Revisions) shared(ctx context.Context, bots Bots, id string) (keying.Revision, error) {
	if r.interval == 0 || !r.board.Sure() || !r.still(id, bots.Metrics) {
		return r.afresh(ctx, bots, id)
	}
	ch := r.fetches.DoChan(fmt.Sprint(r.epoch(id), asker(bots, id)), func() (any, error) {
		if rev, how := r.believe(id, bots.Metrics); how == fresh {
			return rev, nil // another fetch has just ended
		}
		// The fetch is everybody's who waits for it: one caller's leaving must not end it.
		return r.fetch(context.WithoutCancel(ctx), bots, id)
	})
	select {
	case res := <-ch:
		if res.Err != nil {
			return keying.Revision{}, res.Err
		}
		return res.Val.(keying.Revision), nil
	case <-ctx.Done():
		return keying.Revision{}, ctx.Err()
	}
}

func (r *Revisions) afresh(ctx context.Context, bots Bots, id string) (keying.Revision, error) {
	return r.turns.do(ctx, asker(bots, id), func(ctx context.Context) (keying.Revision, error) { return r.fetch(ctx, bots, id) })
}

// asker keeps apart what the server tells different callers.
func asker(bots Bots, id string) string {
	return fmt.Sprintf("%q %s", map[string][]string(bots.Credentials), id)
}

// fetch asks for id and remembers the answer, unless a write passed meanwhile. One of the metrics is no reason
// to ask for the strategy again: every run is one, and a run that was given up counts for a minute. The payload of a nexus
// bot is shown only to its owner, who is named in the query and in the answer (details, section 3);
// without it updatedAt must do, which every tag moves. So a bot's first fetch may take two requests,
// every later one names the owner at once.
func (r *Revisions) fetch(ctx context.Context, bots Bots, id string) (keying.Revision, error) {
	before, still, stillMetrics := r.epoch(id), r.still(id, false), r.still(id, true)
	owner := ""
	r.mu.Lock()
	if k := r.known[id]; k != nil {
		owner = k.owner
	}
	r.mu.Unlock()

	asked := time.Now()
	rev, shownOwner, err := r.ask(ctx, bots, id, owner)
	if err == nil && rev.Hidden() && shownOwner != "" && shownOwner != owner {
		owner = shownOwner
		rev, shownOwner, err = r.ask(ctx, bots, id, owner)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, ErrNoRevision) && len(bots.Credentials) == 0 {
		delete(r.known, id) // to a caller with credentials it may just not be shown
	}
	if err != nil {
		return keying.Revision{}, err
	}
	now := r.epoch(id)
	k := &knownBot{revision: rev, owner: shownOwner, fetched: asked, epoch: before, mixed: !stillMetrics || now.metrics != before.metrics}
	if !still || now.bot != before.bot {
		k.fetched = time.Time{} // for serving stale only
	}
	if len(r.known) >= maxBots {
		clear(r.known)
	}
	r.known[id] = k
	return rev, nil
}

// ask makes one request for a bot as owner would ("" for nobody), and gives the owner shown.
func (r *Revisions) ask(ctx context.Context, bots Bots, id, owner string) (rev keying.Revision, shownOwner string, err error) {
	path := "/api/bots/" + url.PathEscape(id)
	if owner != "" {
		path += "?userId=" + url.QueryEscape(owner)
	}
	res, body, err := r.client.get(ctx, path, bots.Credentials)
	switch {
	case err != nil:
		return rev, "", fmt.Errorf("asking for the revision of a bot: %w", err)
	case res.StatusCode >= http.StatusInternalServerError:
		return rev, "", fmt.Errorf("%w: status %d for a bot's revision", ErrStatus, res.StatusCode)
	case res.StatusCode == http.StatusNotFound && bots.Absent && len(bots.Credentials) == 0 && saysError(body):
		return keying.AbsentRevision(), "", nil
	case res.StatusCode != http.StatusOK:
		return rev, "", fmt.Errorf("%w: status %d", ErrNoRevision, res.StatusCode)
	}
	if rev, err = keying.RevisionOf(body); err != nil {
		return rev, "", fmt.Errorf("%w: %w", ErrNoRevision, err)
	}
	return rev, ownerOf(body), nil
}

// saysError reports whether an answer is the server's own word that something is wrong, not a gateway's.
func saysError(body []byte) bool {
	var a struct {
		Error string `json:"error"`
	}
	return keying.ReadJSON(body, &a) == nil && a.Error != ""
}
