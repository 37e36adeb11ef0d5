package store

import "github.com/redis/go-redis/v9"

// Dial gives a client of its own for rawURL, tuned as the tier's is, to whoever shares other things
// than answers. It connects when it is first used.
func Dial(rawURL string) (redis.UniversalClient, error) { return newClient(rawURL) }
