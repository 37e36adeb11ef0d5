package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
)

// SharedOrigins are what the replicas tell each other of the origins that the server allows: a preflight may come by one
// and what it precedes by another. They are a hash in Redis: origin -> fields.
type SharedOrigins struct {
	client  redis.UniversalClient
	key     string
	inTouch func() bool
}

const (
	// sharePatience bounds how long a hit waits to hear of an origin that this replica never saw.
	sharePatience = 50 * time.Millisecond
	// maxShared bounds what is read of one, in bytes.
	maxShared = 8 << 10
)

// NewSharedOrigins shares under prefix; nil without a client. While inTouch says that Redis can't be reached nobody
// waits for it.
func NewSharedOrigins(client redis.UniversalClient, prefix string, inTouch func() bool) *SharedOrigins {
	if client == nil {
		return nil
	}
	return &SharedOrigins{client, prefix + "origins", inTouch}
}

// sharedHeaders are the fields as they are kept in Redis.
type sharedHeaders struct {
	Learned int64       `json:"learned"` // Unix milliseconds
	Header  http.Header `json:"header"`
}

// get gives what another replica has learned of origin; nothing when there is none, or Redis does not say.
func (s *SharedOrigins) get(ctx context.Context, origin string) (h originHeaders, ok bool) {
	if s == nil || !s.inTouch() {
		return h, false
	}
	ctx, cancel := context.WithTimeout(ctx, sharePatience)
	defer cancel()
	text, err := s.client.HGet(ctx, s.key, origin).Bytes()
	if err != nil || len(text) > maxShared {
		return h, false
	}
	var found sharedHeaders
	if json.Unmarshal(text, &found) != nil || len(found.Header["Vary"]) == 0 {
		return h, false
	}
	for name := range found.Header {
		if !IsCORS(name) && name != "Vary" {
			return h, false
		}
	}
	learned := time.UnixMilli(found.Learned)
	return originHeaders{found.Header, learned, learned}, time.Since(learned) < originMax && time.Until(learned) < time.Minute
}

// put tells of origin. A hash that is full begins anew: its bound is there for a server that allows whatever origin
// somebody makes up.
func (s *SharedOrigins) put(ctx context.Context, origin string, h originHeaders) error {
	if !s.inTouch() {
		return nil
	}
	text, err := json.Marshal(sharedHeaders{h.learned.UnixMilli(), h.header})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, err := s.client.HLen(ctx, s.key).Result()
	if err != nil {
		return err
	}
	_, err = s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if n >= maxOrigins {
			p.Unlink(ctx, s.key)
		}
		p.HSet(ctx, s.key, origin, text)
		p.Expire(ctx, s.key, originMax)
		return nil
	})
	return err
}
