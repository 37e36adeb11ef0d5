// Package config is Warmfront's configuration: one struct read from the environment, whose tags are
// also its documentation. Load gives a configuration that can work, or one line that says which
// variable can't, what it got and what it takes.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config holds every variable of the interface, as parsed. Durations are as Go writes them (30s),
// sizes as 256MiB. The takes tag finishes the sentence "it takes …".
type Config struct {
	UpstreamURL *url.URL `env:"UPSTREAM_URL,required" takes:"the server's address without a path, e.g. http://server.railway.internal:8787" meaning:"the server behind Warmfront, e.g. http://server.railway.internal:8787"`
	Port        int      `env:"PORT" envDefault:"8080" takes:"a port from 0 (any free one) to 65535" meaning:"listened on at [::], IPv4 and IPv6"`

	RedisURL    Secret `env:"REDIS_URL" takes:"a redis://, rediss:// or unix:// URL with a host (or a socket's path), a number as database and options that Redis clients know" meaning:"the shared tier: redis://, rediss://, unix://; several addr= for a cluster, master_name for Sentinel; empty: none"`
	RedisPrefix string `env:"REDIS_PREFIX" envDefault:"warmfront:" takes:"printable text without spaces that is none of the server's own prefixes" meaning:"before every key of Warmfront's own"`

	MemoryLimit Bytes `env:"MEMORY_LIMIT" envDefault:"256MiB" takes:"a size like 256MiB, at most 1EiB" meaning:"the in-memory tier's size in bytes as stored"`
	MaxEntry    Bytes `env:"MAX_ENTRY" envDefault:"16MiB" takes:"a size like 16MiB, no more than MEMORY_LIMIT" meaning:"a larger answer is streamed through and not kept"`
	MaxRequest  Bytes `env:"MAX_REQUEST" envDefault:"16MiB" takes:"a size like 16MiB, at most 1EiB" meaning:"a larger intercepted request body is streamed through and not keyed"`

	CacheTTL time.Duration `env:"CACHE_TTL" envDefault:"24h" takes:"a duration over zero like 24h, at most 87600h" meaning:"how long an answer is fresh"`
	StaleTTL time.Duration `env:"STALE_TTL" envDefault:"24h" takes:"a duration like 24h, or 0s, at most 87600h" meaning:"how much longer it may be served when the upstream is down"`

	DataDateInterval time.Duration `env:"DATA_DATE_INTERVAL" envDefault:"15s" takes:"a duration over zero like 15s, at most 87600h" meaning:"how often the data date, the canaries and the sync's status are asked for"`
	DataDateTickers  []string      `env:"DATA_DATE_TICKERS" envDefault:"SPY" takes:"a comma list of tickers (A-Z 0-9 . = ^ -)" meaning:"canaries: tickers whose newest candle is the data date (tickers that bots use are sampled besides)"`
	SyncSettle       time.Duration `env:"SYNC_SETTLE" envDefault:"20m" takes:"a duration like 20m, or 0s, at most 87600h" meaning:"from the first sign of a sync, answers are provisional until it is known to have succeeded, or no further sign was seen for this long"`
	ProvisionalTTL   time.Duration `env:"PROVISIONAL_TTL" envDefault:"30s" takes:"a duration like 30s, or 0s, at most 87600h" meaning:"how long a provisional answer is kept"`
	RevisionInterval time.Duration `env:"REVISION_INTERVAL" envDefault:"5s" takes:"a duration like 5s, or 0s to ask each time, at most 87600h" meaning:"how long a bot's revision is believed without asking again"`
	RevisionMax      time.Duration `env:"REVISION_MAX" envDefault:"60s" takes:"a duration like 60s, no less than REVISION_INTERVAL, at most 87600h" meaning:"how long it may be believed while the server is too busy to be asked again (or REVISION_INTERVAL where that is longer)"`

	Warm            bool `env:"WARM" envDefault:"true" takes:"true or false" meaning:"the warm loop"`
	WarmConcurrency int  `env:"WARM_CONCURRENCY" envDefault:"2" takes:"a number from 1 to 64" meaning:"requests that the warm loop has in flight at the upstream"`
	WarmJournal     int  `env:"WARM_JOURNAL" envDefault:"10000" takes:"a number from 0 to 10000000" meaning:"how many distinct requests are remembered for replay"`

	UpstreamEmail         string `env:"UPSTREAM_EMAIL" takes:"an email address, together with UPSTREAM_PASSWORD" meaning:"an admin's login for Warmfront's own requests: sync status, clearing the server's stale rows, bot list, replay"`
	UpstreamPassword      Secret `env:"UPSTREAM_PASSWORD" takes:"a password, together with UPSTREAM_EMAIL" meaning:"the password of that login"`
	UpstreamAuthorization Secret `env:"UPSTREAM_AUTHORIZATION" takes:"a value without line breaks, and no login beside it" meaning:"instead of a login: a fixed Authorization value"`

	AuditRate float64 `env:"AUDIT_RATE" envDefault:"0.005" takes:"a number from 0 to 1" meaning:"share of hits that are compared with the server in the background, one at a time; 0: none"`

	ParquetDir              string `env:"PARQUET_DIR" takes:"a path" meaning:"where the price files are: enables the candle and indicator jobs"`
	CorrelationsDatabaseURL Secret `env:"CORRELATIONS_DATABASE_URL" takes:"postgres:// or postgresql://" meaning:"Postgres that holds nexus_correlations"`

	Access            Access   `env:"ACCESS" envDefault:"auto" takes:"public, granted or auto" meaning:"public: a stored answer serves everyone; granted: it serves a caller whose credentials had a 2xx for the same bot in the last 5 minutes; auto: asks the upstream which"`
	CredentialHeaders []string `env:"CREDENTIAL_HEADERS" takes:"a comma list of header names" meaning:"request headers that tell who asks, besides Authorization, Cookie and the common API-key headers"`
	MetricsWriteback  bool     `env:"METRICS_WRITEBACK" envDefault:"true" takes:"true or false" meaning:"keep a bot's saved metrics as the server would have: a hit on another variant than the one last saved sends PUT /api/bots/:id/metrics"`

	BypassHeader string `env:"BYPASS_HEADER" envDefault:"X-Cache-Bypass" takes:"a header name of its own" meaning:"the request header that goes past the cache"`
	BypassToken  Secret `env:"BYPASS_TOKEN" takes:"printable text without spaces and ';'" meaning:"when set, the bypass header works only as <mode>;<token>"`
	AdminToken   Secret `env:"ADMIN_TOKEN" takes:"printable text without spaces" meaning:"bearer token of the admin endpoints; empty: they answer 403"`

	UpstreamTimeout time.Duration `env:"UPSTREAM_TIMEOUT" envDefault:"120s" takes:"a duration over zero like 120s, at most 87600h" meaning:"to the first byte of an intercepted answer"`
	Drain           time.Duration `env:"DRAIN" envDefault:"25s" takes:"a duration like 25s, or 0s, at most 87600h" meaning:"how long SIGTERM waits for requests under way"`

	LogLevel  LogLevel  `env:"LOG_LEVEL" envDefault:"info" takes:"debug, info, warn or error" meaning:"the least severe log lines that are written"`
	LogFormat LogFormat `env:"LOG_FORMAT" envDefault:"json" takes:"json or console" meaning:"json, or console for a terminal"`

	Epoch string `env:"EPOCH" takes:"any text" meaning:"changing it makes every old answer unreachable (a new backtest engine)"`
}

// Load reads a configuration from environ (name to value) and validates it. A variable that is set
// but empty counts as not set. The error is one line.
func Load(environ map[string]string) (*Config, error) {
	set := make(map[string]string, len(environ))
	for name, value := range environ {
		if value != "" {
			set[name] = value
		}
	}
	cfg, err := env.ParseAsWithOptions[Config](env.Options{
		Environment: set,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[url.URL](): parseURL},
	})
	if err != nil {
		return nil, named(err, set)
	}
	if _, ok := set["REVISION_MAX"]; !ok {
		cfg.RevisionMax = max(cfg.RevisionMax, cfg.RevisionInterval)
	}
	given := func(f reflect.StructField) string {
		if value, ok := set[variable(f)]; ok {
			return value
		}
		return f.Tag.Get("envDefault")
	}
	if err := cfg.validate(given); err != nil {
		return nil, err
	}
	return &cfg, nil
}

// parseURL takes the place of the library's parser, whose error repeats the value with whatever
// secrets are in it.
func parseURL(value string) (any, error) {
	u, err := url.Parse(value)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	return *u, nil
}

// named turns the library's errors, which name Go fields, into one line that names the variable.
func named(err error, set map[string]string) error {
	all := []error{err}
	var aggregate env.AggregateError
	if errors.As(err, &aggregate) {
		all = aggregate.Errors
	}
	for _, err := range all {
		var parse env.ParseError
		var missing env.VarIsNotSetError
		switch {
		case errors.As(err, &missing):
			return wrong(fieldOf(missing.Key), "nothing")
		case errors.As(err, &parse):
			if f, ok := reflect.TypeFor[Config]().FieldByName(parse.Name); ok {
				return wrong(f, shown(f, set[variable(f)]))
			}
		}
	}
	return fmt.Errorf("reading the environment: %w", err)
}
