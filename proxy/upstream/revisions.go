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

// Revisions remembers what the server said of each saved bot, for interval.
type Revisions struct {
	client   *Client
	interval time.Duration
	fetches  singleflight.Group

	mu    sync.Mutex
	known map[string]*knownBot
	clock uint64 // counts writes, to whatever bot
	all   uint64 // the clock at the last write that may have been to any bot
}

// knownBot is what is remembered of one bot. written is the clock at the last write seen, so that a
// fetch begun before a write can't pass for one after it.
type knownBot struct {
	revision keying.Revision
	owner    string
	fetched  time.Time // zero: must be asked for again
	has      bool
	written  uint64
}

// NewRevisions asks through c and believes an answer for interval.
func NewRevisions(c *Client, interval time.Duration) *Revisions {
	return &Revisions{client: c, interval: interval, known: map[string]*knownBot{}}
}

// Epochs tells which write to each bot was the last seen; a fill compares them before and after.
type Epochs []uint64

// Epochs of ids, in order.
func (r *Revisions) Epochs(ids []string) Epochs {
	if len(ids) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := make(Epochs, len(ids))
	for i, id := range ids {
		e[i] = r.epoch(id)
	}
	return e
}

func (r *Revisions) epoch(id string) uint64 {
	if k := r.known[id]; k != nil {
		return max(r.all, k.written)
	}
	return r.all
}

// Of gives the revisions of ids in order, believed ones or fetched now. sure is false when the
// server can't be reached and the last known ones are given instead: good only for finding what may
// be served stale. The error wraps ErrNoRevision, ErrDown or the context's.
func (r *Revisions) Of(ctx context.Context, ids []string) (revisions []keying.Revision, sure bool, err error) {
	if len(ids) == 0 {
		return nil, true, nil
	}
	revisions = make([]keying.Revision, len(ids))
	missing := r.believed(ids, revisions)
	if len(missing) == 0 {
		return revisions, true, nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(revisionFetches)
	for _, i := range missing {
		g.Go(func() error {
			rev, err := r.shared(gctx, ids[i])
			revisions[i] = rev
			return err
		})
	}
	err = g.Wait()
	if err == nil {
		return revisions, true, nil
	}
	if ctx.Err() == nil && !errors.Is(err, ErrNoRevision) && r.lastKnown(ids, revisions) {
		return revisions, false, nil
	}
	return nil, false, err
}

// Fetch asks for the revisions of ids now, each with a request that begins after this call.
func (r *Revisions) Fetch(ctx context.Context, ids []string) ([]keying.Revision, error) {
	revisions := make([]keying.Revision, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(revisionFetches)
	for i := range ids {
		g.Go(func() (err error) {
			revisions[i], err = r.fetch(ctx, ids[i])
			return err
		})
	}
	return revisions, g.Wait()
}

// Forget makes the revision of id unknown, because a write to it is passing through; an empty id
// means all bots.
func (r *Revisions) Forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	if id == "" {
		r.all = r.clock
		for _, k := range r.known {
			k.fetched = time.Time{}
		}
		return
	}
	k := r.remember(id)
	k.written = r.clock
	k.fetched = time.Time{}
}

// believed fills in what needs no asking and gives the indices of the rest.
func (r *Revisions) believed(ids []string, into []keying.Revision) (missing []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for i, id := range ids {
		k := r.known[id]
		if k == nil || k.fetched.IsZero() || now.Sub(k.fetched) >= r.interval {
			missing = append(missing, i)
			continue
		}
		into[i] = k.revision
	}
	return missing
}

func (r *Revisions) lastKnown(ids []string, into []keying.Revision) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, id := range ids {
		k := r.known[id]
		if k == nil || !k.has {
			return false
		}
		into[i] = k.revision
	}
	return true
}

// shared joins a fetch that is under way for the same bot and the same last write.
func (r *Revisions) shared(ctx context.Context, id string) (keying.Revision, error) {
	r.mu.Lock()
	epoch := r.epoch(id)
	r.mu.Unlock()
	ch := r.fetches.DoChan(fmt.Sprintf("%d %s", epoch, id), func() (any, error) {
		// The fetch is everybody's who waits for it: one caller's leaving must not end it.
		return r.fetch(context.WithoutCancel(ctx), id)
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

// fetch asks for id and remembers the answer, unless a write passed meanwhile. The payload of a nexus
// bot is shown only to its owner, who is named in the query and in the answer (details, section 3);
// without it updatedAt must do, which every tag moves. So a bot's first fetch may take two requests,
// every later one names the owner at once.
func (r *Revisions) fetch(ctx context.Context, id string) (keying.Revision, error) {
	r.mu.Lock()
	before, owner := r.epoch(id), ""
	if k := r.known[id]; k != nil {
		owner = k.owner
	}
	r.mu.Unlock()

	asked := time.Now()
	rev, shownOwner, err := r.ask(ctx, id, owner)
	if err == nil && rev.Hidden() && shownOwner != "" && shownOwner != owner {
		owner = shownOwner
		rev, shownOwner, err = r.ask(ctx, id, owner)
	}
	if errors.Is(err, ErrNoRevision) {
		r.drop(id)
	}
	if err != nil {
		return keying.Revision{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch(id) != before {
		return rev, nil
	}
	k := r.remember(id)
	k.revision, k.fetched, k.has, k.owner = rev, asked, true, shownOwner
	return rev, nil
}

// ask makes one request for a bot as owner would ("" for nobody), and gives the owner shown.
func (r *Revisions) ask(ctx context.Context, id, owner string) (rev keying.Revision, shownOwner string, err error) {
	path := "/api/bots/" + url.PathEscape(id)
	if owner != "" {
		path += "?userId=" + url.QueryEscape(owner)
	}
	res, body, err := r.client.get(ctx, path, nil)
	switch {
	case err != nil:
		return rev, "", fmt.Errorf("asking for the revision of a bot: %w", err)
	case res.StatusCode >= http.StatusInternalServerError:
		return rev, "", fmt.Errorf("%w: status %d for a bot's revision", ErrStatus, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return rev, "", fmt.Errorf("%w: status %d", ErrNoRevision, res.StatusCode)
	}
	if rev, err = keying.RevisionOf(body); err != nil {
		return rev, "", fmt.Errorf("%w: %w", ErrNoRevision, err)
	}
	return rev, ownerOf(body), nil
}

// drop forgets a bot that the server does not show (any more), but not that it was written to.
func (r *Revisions) drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.known[id]; k != nil {
		*k = knownBot{written: k.written}
	}
}

// remember gives the record of id, made if need be. The caller holds mu.
func (r *Revisions) remember(id string) *knownBot {
	k := r.known[id]
	if k == nil {
		if len(r.known) >= maxBots {
			// Counting all bots as written to keeps the epochs of the forgotten ones moving on.
			clear(r.known)
			r.clock++
			r.all = r.clock
		}
		k = &knownBot{}
		r.known[id] = k
	}
	return k
}
