package store

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// Dial gives a client of its own for rawURL, tuned as the tier's is, to whoever shares other things
// than answers. It connects when it is first used.
func Dial(rawURL string) (redis.UniversalClient, error) { return newClient(rawURL) }

// DialPatient is Dial for values of a megabyte and more: it waits for seconds, and tries again.
func DialPatient(rawURL string) (redis.UniversalClient, error) {
	return dial(rawURL, func(o *redis.UniversalOptions) *redis.UniversalOptions {
		o = tuned(o)
		o.MaxRetries, o.DialTimeout = 2, 5*time.Second
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = 30*time.Second, 30*time.Second, 30*time.Second
		return o
	})
}
