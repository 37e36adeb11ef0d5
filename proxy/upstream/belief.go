package upstream

import (
	"context"
	"time"

	"warmfront/keying"
	"warmfront/keying/rule"
)

// belief is how far what was seen of a bot may be relied on.
type belief int

const (
	unknown belief = iota // it must be asked for
	aged                  // it will do while the server is too busy to say it again
	fresh
)

// believe gives what was seen of a bot. A replica that is cut off from others knows nothing: what they let pass it can't
// hear, so right comes before fast.
func (r *Revisions) believe(id string, metrics bool) (rev keying.Revision, how belief) {
	r.mu.Lock()
	k := r.known[id]
	r.mu.Unlock()
	if k == nil || k.fetched.IsZero() || r.interval == 0 || !r.board.Sure() || !r.holds(k, id, metrics) {
		return rev, unknown
	}
	switch age := time.Since(k.fetched); {
	case age < r.interval:
		return k.revision, fresh
	case age < r.longest || rule.Off(rule.RevisionMax):
		return k.revision, aged
	}
	return rev, unknown
}

// believed fills in what is known and gives the indices of the rest, which must be asked for. What is aged is asked for
// behind the answer: an idle server says it within the moment that is waited for, so that a write that went around
// Warmfront is seen after interval. With the error it has said that it can't.
func (r *Revisions) believed(ctx context.Context, bots Bots, into []keying.Revision) (missing []int, err error) {
	var late []int
	for i, id := range bots.IDs {
		rev, how := r.believe(id, bots.Metrics)
		switch into[i] = rev; how {
		case unknown:
			missing = append(missing, i)
		case aged:
			late = append(late, i)
		}
	}
	if len(missing) > 0 {
		return append(missing, late...), nil // it must be waited for in any case
	}
	calls := make([]*lateCall, len(late))
	for n, i := range late {
		calls[n] = r.renew(bots, bots.IDs[i])
	}
	for n, i := range late {
		ended, err := calls[n].wait(ctx)
		if ended && err != nil {
			return nil, err
		}
		// A write may have come while this waited.
		rev, how := r.believe(bots.IDs[i], bots.Metrics)
		if into[i] = rev; how == unknown {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// renew asks for a bot behind the answers that are given meanwhile.
func (r *Revisions) renew(bots Bots, id string) *lateCall {
	return r.behind.start(asker(bots, id), func(ctx context.Context) error {
		_, err := r.shared(ctx, bots, id)
		return err
	})
}
