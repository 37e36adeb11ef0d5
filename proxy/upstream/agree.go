package upstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"go.uber.org/zap"
)

// basis is what an observation or a change starts from.
type basis struct {
	known   record
	version int64 // of the board's record; ownVersion without one in reach
	due     bool  // known is to be put on the board, even if nothing is seen to have changed
	paid    int   // how many of the changes owed are in known
}

// base gives the record that the next observation is compared with. It is due to be put on the board
// when that has lost it, or when this replica could not share something while it was cut off. What this
// replica saw alone is not given up before the next observation is here.
func (d *DataWatch) base() (b basis) {
	d.committing.Lock()
	defer d.committing.Unlock()
	raw, version := d.board.Record()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.board.InTouch() {
		return basis{known: d.alone(), version: ownVersion}
	}
	b.version = version
	theirs, ok := d.read(raw, version)
	switch {
	case ok:
		if d.version != ownVersion {
			d.adopt(theirs, version)
		} else {
			d.owe(theirs)
		}
		b.known = theirs
	case d.state != nil:
		b.known, b.due = d.state.record.revived(time.Now()), true
	}
	if len(d.owed) > 0 && b.known.Number > 0 {
		b.known, b.due, b.paid = b.known.clone(), true, len(d.owed)
		for _, change := range d.owed {
			change(&b.known)
		}
	}
	return b
}

// read reads the board's record; ok is false when there is none that can be read.
func (d *DataWatch) read(raw []byte, version int64) (r record, ok bool) {
	if version == 0 {
		return r, false
	}
	if version == d.version {
		return d.state.record, true
	}
	if err := json.Unmarshal(raw, &r); err != nil || r.Number == 0 {
		d.log.Error("the replicas' record of the data can't be read; it will be replaced", zap.Int64("version", version), zap.Error(err))
		return record{}, false
	}
	return r, true
}

// owe sees to it that a record which somebody has put up who did not know this replica's, when the board had lost
// it, is told what went before. The caller holds mu.
func (d *DataWatch) owe(found record) {
	if d.state == nil {
		return
	}
	before := d.state.record
	if root := before.root(); root == found.root() || root == found.After && found.AfterNumber >= before.Number || found.root() == d.owedTo {
		return
	}
	d.owedTo = found.root()
	d.owed = append(d.owed, func(next *record) { next.follows(before, time.Now()) })
	d.Poke()
}

// adopt makes the board's record the state. The caller holds mu.
func (d *DataWatch) adopt(r record, version int64) {
	if d.version == version {
		return
	}
	d.owe(r)
	d.state, d.version = stateOf(r), version
}

// alone is what is known without the board. The caller holds mu.
func (d *DataWatch) alone() record {
	if d.state == nil {
		return record{}
	}
	return d.state.record.clone()
}

// keepAlone makes next the state of this replica only. A generation that it begins alone must not be taken
// for one that others begin meanwhile. The caller holds mu.
func (d *DataWatch) keepAlone(next record) {
	switch {
	case d.state == nil:
		for _, change := range d.owed { // that came before anything was known
			change(&next)
		}
	case next.Number != d.state.record.Number:
		next.Life += "~" + rand.Text()
	}
	d.state, d.version = stateOf(next), ownVersion
}

// commit makes next, which came of b, the record, unless another replica has changed it since.
func (d *DataWatch) commit(ctx context.Context, next record, b basis) bool {
	if b.version == ownVersion {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.keepAlone(next)
		return true
	}
	raw, err := json.Marshal(next)
	if err != nil {
		d.log.Error("the record of the data can't be written", zap.Error(err))
		return false
	}
	d.committing.Lock()
	defer d.committing.Unlock()
	version, err := d.board.Propose(ctx, raw, b.version)
	if err != nil || version == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owed = d.owed[b.paid:]
	d.agree(next, version)
	return true
}

// agree makes what the board says the state, unless something has come since that it lacks. The caller
// holds mu.
func (d *DataWatch) agree(r record, version int64) {
	if len(d.owed) == 0 && (d.version == ownVersion || d.version < version) {
		d.state, d.version = stateOf(r), version
	}
}

// apply makes a change that is no observation, on all replicas: at once, or here at once and elsewhere
// when the board can be reached again. why is for the log.
func (d *DataWatch) apply(ctx context.Context, why string, change func(*record)) {
	for range 5 {
		b := d.base()
		if b.known.Number == 0 || b.version == ownVersion {
			break
		}
		next := b.known.clone()
		change(&next)
		if d.commit(ctx, next, b) {
			d.announce(b.known, next, []string{why})
			return
		}
		pause(ctx, 5*time.Millisecond, nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Where nothing is known yet nothing is kept, but the first look may have begun before the change.
	if next := d.alone(); next.Number > 0 {
		change(&next)
		d.keepAlone(next)
	}
	d.owed = append(d.owed, change)
}

// tell shares, whenever there may be something to, until ctx ends. It doesn't wait for what the server says,
// which may take seconds: a replica that has just started, and finds an empty board, would take what the server
// has for new.
func (d *DataWatch) tell(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		for !d.board.InTouch() && ctx.Err() == nil {
			pause(ctx, reachEvery, nil)
		}
		d.share(ctx)
	}
}

// share puts on the board what only this replica knows: the record that the board has lost, and changes that
// are owed.
func (d *DataWatch) share(ctx context.Context) {
	for range 3 {
		b := d.base()
		if !b.due || b.version == ownVersion || d.commit(ctx, b.known, b) {
			return
		}
	}
}

// letOthersTell returns when replicas that know more than an empty board says must have said so.
func (d *DataWatch) letOthersTell(ctx context.Context) {
	for d.board.Young() && ctx.Err() == nil {
		d.mu.Lock()
		known := d.state != nil
		d.mu.Unlock()
		if _, version := d.board.Record(); known || version != 0 {
			return
		}
		pause(ctx, 10*time.Millisecond, nil)
	}
}
