package upstream

import (
	"context"
	"time"
)

// awaitEvery is how often a request that waits for a look sees whether it is there.
const awaitEvery = 5 * time.Millisecond

// unseen reports whether a sync may have begun, or the server's caches been cleared, in the last moments before this
// replica lost touch with the others, and the data has not been looked at since. What others hear of later is, while
// they can't be heard, known by the signs that the data itself gives, as it is to a Warmfront without Redis.
func (d *DataWatch) unseen() bool {
	return d.board.CutOff() && d.lookedAt.Load() <= d.board.CutOffSince().UnixNano()
}

// Await waits for the look that a replica takes after it has lost touch with the others, whatever it brings. A server
// that is busy answers it no later than it would answer the request itself.
func (d *DataWatch) Await(ctx context.Context) {
	if !d.unseen() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.client.timeout)
	defer cancel()
	for d.unseen() && d.endedAt.Load() <= d.board.CutOffSince().UnixNano() && ctx.Err() == nil {
		d.Poke()
		pause(ctx, awaitEvery, nil)
	}
}
