package proxy

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"
)

// auditTurn lets one replica at a time audit: the server computes in one thread, whoever asks.
type auditTurn struct {
	redis redis.UniversalClient // nil: there is nobody else
	key   string
	token string
	limit time.Duration // after which a replica that died has had its turn
}

// turnPatience bounds how long Redis is asked whose turn it is.
const turnPatience = 50 * time.Millisecond

func newAuditTurn(client redis.UniversalClient, prefix string, limit time.Duration) *auditTurn {
	return &auditTurn{client, prefix + "audit", rand.Text(), limit}
}

// take reports whether it is this replica's turn. While Redis doesn't say, it is nobody's.
func (t *auditTurn) take(ctx context.Context) bool {
	if t.redis == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	won, err := t.redis.SetNX(ctx, t.key, t.token, t.limit).Result()
	return err == nil && won
}

var giveBack = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

func (t *auditTurn) giveBack() {
	if t.redis == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), turnPatience)
	defer cancel()
	giveBack.Run(ctx, t.redis, []string{t.key}, t.token)
}
