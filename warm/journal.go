package warm

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"warmfront/keying"
)

// A Note tells the journal of an intercepted request that was answered with success. It holds neither
// credentials nor whose request it was. The receiver doesn't change what it points to.
type Note struct {
	Request  *keying.Request
	Method   string
	Target   string // path and query, as written
	Body     []byte // as received
	Upstream time.Duration
}

// An Entry is a request that the journal remembers.
type Entry struct {
	ID    string // of its meaning
	Uses  int64
	Last  time.Time
	Took  time.Duration // what it takes the server; 0 when it was never seen to ask it
	Score float64       // grows with uses and what each takes the server, ages; see weight

	packed []byte
}

// A use is what was noted of one request since the journal was last written.
type use struct {
	id   string
	uses int64
	took time.Duration // 0 when all were hits
}

// keeper is where a journal is kept: in memory, or in the Redis that replicas share.
type keeper interface {
	// touch counts uses of what is kept, and gives the indices of those that are not.
	touch(ctx context.Context, now time.Time, uses []use) (missing []int, err error)
	// add keeps requests beside their uses. The least valuable give way.
	add(ctx context.Context, now time.Time, uses []use, packed [][]byte) error
	// load gives everything that is kept and young enough.
	load(ctx context.Context, now time.Time) ([]Entry, error)
	// drop forgets.
	drop(ctx context.Context, ids []string) error
	// size is how many are kept.
	size(ctx context.Context) (int, error)
}

const (
	// flushEvery is how long a note waits to be written together with others.
	flushEvery = 250 * time.Millisecond
	// maxNotes and maxNoted bound what waits, in notes and in bytes of bodies; the rest is dropped
	// and counted. Requests never wait for the journal.
	maxNotes = 4096
	maxNoted = 32 << 20
	// maxBatch bounds one call to Redis, in requests; maxBatchBytes in bytes of packed requests.
	maxBatch      = 128
	maxBatchBytes = 4 << 20
)

// Journal remembers what users ask, so that it can be asked for them before they do.
type Journal struct {
	keeper  keeper
	log     *zap.Logger
	metrics *metrics
	off     bool

	mu      sync.Mutex
	waiting []Note
	bytes   int
}

// Note remembers n, soon. It never blocks on anything but other notes.
func (j *Journal) Note(n Note) {
	if j.off {
		return
	}
	j.mu.Lock()
	fits := len(j.waiting) < maxNotes && j.bytes+len(n.Body) <= maxNoted
	if fits {
		j.waiting = append(j.waiting, n)
		j.bytes += len(n.Body)
	}
	j.mu.Unlock()
	if !fits {
		j.metrics.forgotten("busy", 1)
	}
}

// run writes notes until ctx ends, and those that are left after that.
func (j *Journal) run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			j.flush(last)
			return
		}
	}
}

// flush writes what waits.
func (j *Journal) flush(ctx context.Context) {
	j.mu.Lock()
	notes := j.waiting
	j.waiting, j.bytes = nil, 0
	j.mu.Unlock()
	first, uses := summed(notes, j.metrics)
	now := time.Now()
	for from := 0; from < len(uses); from += maxBatch {
		to := min(from+maxBatch, len(uses))
		if err := j.write(ctx, now, uses[from:to], first[from:to]); err != nil {
			j.metrics.forgotten("redis", len(uses)-from)
			j.log.Debug("the journal could not be written", zap.Error(err))
			return
		}
	}
}

// summed puts notes of the same meaning together, with one of them as an example of each.
func summed(notes []Note, m *metrics) (first []*Note, uses []use) {
	at := map[string]int{}
	for i := range notes {
		n := &notes[i]
		if !mayBeKept(n) {
			m.forgotten("query", 1)
			continue
		}
		id := n.Request.ID()
		k, ok := at[id]
		if !ok {
			k = len(uses)
			at[id] = k
			uses, first = append(uses, use{id: id}), append(first, n)
		}
		uses[k].uses++
		uses[k].took = max(uses[k].took, n.Upstream)
	}
	return first, uses
}

// queryNames are the query parameters that routes read. Others could be anything, a credential too: a
// request that has one is not remembered.
var queryNames = []string{"limit", "tickers", "startDate", "endDate"}

func mayBeKept(n *Note) bool {
	_, rawQuery, _ := strings.Cut(n.Target, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil || n.Method != "GET" && len(query) > 0 {
		return false
	}
	for name := range query {
		if !slices.Contains(queryNames, name) {
			return false
		}
	}
	return true
}

func (j *Journal) write(ctx context.Context, now time.Time, uses []use, first []*Note) error {
	missing, err := j.keeper.touch(ctx, now, uses)
	if err != nil {
		return err
	}
	var batch []use
	var packed [][]byte
	bytes := 0
	for _, i := range missing {
		b, err := first[i].pack()
		if err != nil {
			reason := "malformed"
			if errors.Is(err, errTooLarge) {
				reason = "too-large"
			}
			j.metrics.forgotten(reason, 1)
			continue
		}
		if bytes+len(b) > maxBatchBytes && len(batch) > 0 {
			if err := j.keeper.add(ctx, now, batch, packed); err != nil {
				return err
			}
			batch, packed, bytes = nil, nil, 0
		}
		batch, packed, bytes = append(batch, uses[i]), append(packed, b), bytes+len(b)
	}
	if len(batch) == 0 {
		return nil
	}
	return j.keeper.add(ctx, now, batch, packed)
}

func (n *Note) pack() ([]byte, error) {
	return pack(&asked{Method: n.Method, Target: n.Target, Body: string(n.Request.Replay(n.Body)), Bots: n.Request.Bots})
}
