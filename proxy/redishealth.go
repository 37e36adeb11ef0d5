package proxy

import (
	"context"
	"time"

	"go.uber.org/zap"

	"warmfront/proxy/board"
	"warmfront/proxy/store"
)

const (
	// healthEvery is how often the log is told how Redis is, if that has changed.
	healthEvery = 250 * time.Millisecond
	// sayAgainAfter is how often the same trouble is logged.
	sayAgainAfter = time.Minute
)

// redisHealth tells how Redis is, by what came of the commands that Warmfront lives on: the looks at the board, and
// the tier's reads and writes. A Redis that answers PING may refuse all of these.
type redisHealth struct {
	tier  *store.Redis // nil without REDIS_URL
	board *board.Board
	log   *zap.Logger
}

// What readyz says of Redis.
const (
	redisOff  = "off"
	redisUp   = "up"
	redisDown = "down"
)

// state is one of these, and why; up with a reason is a Redis that lacks something which can be done without.
func (h redisHealth) state() (state, why string) {
	if h.tier == nil {
		return redisOff, ""
	}
	if err := h.board.Trouble(); err != nil && !h.board.InTouch() {
		return redisDown, inWords(err)
	}
	if err := h.tier.Trouble(); err != nil {
		return redisDown, inWords(err)
	}
	if h.board.Mute() {
		return redisUp, "its user may not use channels, so replicas hear of each other a little later: give it &<REDIS_PREFIX>* (ACL SETUSER)"
	}
	return redisUp, ""
}

// inWords says why without repeating what Redis said: that may hold names.
func inWords(err error) string {
	if why := store.Refusal(err); why != "" {
		return why
	}
	return "it does not answer"
}

// Run logs what changes until ctx ends, and the same trouble once a minute.
func (h redisHealth) Run(ctx context.Context) {
	if h.tier == nil {
		h.log.Info("no REDIS_URL – memory only")
		return
	}
	said := map[string]time.Time{}
	before := ""
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		state, why := h.state()
		if state == redisUp && before == "" && !h.board.InTouch() {
			state = "" // not asked yet
		}
		switch {
		case why != "" && time.Since(said[why]) >= sayAgainAfter:
			said[why] = time.Now()
			if state == redisDown {
				h.log.Warn("redis can't be used – memory only, and the server is asked what is true", zap.String("why", why))
			} else {
				h.log.Warn("redis can be used, but not in full", zap.String("why", why))
			}
		case state == redisUp && before == "":
			h.log.Info("redis connected – shared cache enabled")
		case state == redisUp && before == redisDown:
			h.log.Info("redis answers again – shared cache enabled")
		}
		before = state
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
