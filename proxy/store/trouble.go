package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

// troubleLasts is for how long a refusal counts when nothing was asked since.
const troubleLasts = time.Minute

// outcomes remember how the tier's own commands went last: a Redis that answers PING may refuse all of them.
type outcomes struct {
	mu          sync.Mutex
	read, write outcome // the last refusal, unless one that succeeded came after it
	failed      error   // the last failure that was no refusal
}

type outcome struct {
	err error
	at  time.Time
}

func (o *outcomes) note(last *outcome, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		*last = outcome{}
	case Refusal(err) != "":
		*last = outcome{err, time.Now()}
	case !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, context.Canceled):
		o.failed = err
	}
}

// Trouble is why the tier can't be used, or not in full, by what came of its own commands; nil when it can.
func (r *Redis) Trouble() error {
	o := &r.outcomes
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.breaker.State() != gobreaker.StateClosed {
		return errors.Join(ErrUnavailable, o.failed)
	}
	for _, last := range []outcome{o.read, o.write} {
		if last.err != nil && time.Since(last.at) < troubleLasts {
			return last.err
		}
	}
	return nil
}

// refusals are what Redis says when it is there and refuses, by the code with which its errors begin, and what to do.
// One that comes out of a script stands somewhere in the text.
var refusals = [...]struct{ code, why string }{
	{"NOPERM", "its user may not do what Warmfront needs: give it +@all ~<REDIS_PREFIX>* &<REDIS_PREFIX>* (ACL SETUSER), at least +@scripting +@read +@write +@connection +@pubsub"},
	{"WRONGPASS", "it refuses the user or the password of REDIS_URL"},
	{"NOAUTH", "it asks for a password: write it into REDIS_URL"},
	{"MOVED", "it is one node of a cluster: name the other nodes in REDIS_URL, as ?addr=host:port&addr=host:port"},
	{"ASK ", "it is one node of a cluster: name the other nodes in REDIS_URL, as ?addr=host:port&addr=host:port"},
	{"CROSSSLOT", "it is one node of a cluster: name the other nodes in REDIS_URL, as ?addr=host:port&addr=host:port"},
	{"CLUSTERDOWN", "its cluster does not serve all slots"},
	{"OOM", "it is full: raise its maxmemory, or set maxmemory-policy to allkeys-lru"},
	{"READONLY", "it is a replica that takes no writes: REDIS_URL must lead to the primary"},
	{"MISCONF", "it takes no writes because it can't save its snapshot"},
	{"LOADING", "it is loading its data; that passes"},
	{"MASTERDOWN", "it has lost its primary"},
	{"BUSY ", "a script of somebody's keeps it busy"},
}

// Refusal says in words why Redis refuses and what to do about it; "" when err is something else.
func Refusal(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, r := range refusals {
		if strings.Contains(text, r.code) {
			return r.why
		}
	}
	return ""
}
