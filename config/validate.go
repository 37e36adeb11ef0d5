package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// maxDuration leaves room for sums of durations: an expiry must not overflow into the past, nor into
// what Redis takes for "no expiry".
const maxDuration = 87_600 * time.Hour

// Validate reports the first value that can't work or contradicts another, in one line.
func (c *Config) Validate() error {
	return c.validate(func(f reflect.StructField) string {
		return text(reflect.ValueOf(*c).FieldByIndex(f.Index).Interface())
	})
}

// validate is Validate; given says what a field was set to, for the message.
func (c *Config) validate(given func(reflect.StructField) string) error {
	for _, check := range []struct {
		variable string
		ok       bool
		beside   string // the variable that it may contradict
	}{
		{variable: "UPSTREAM_URL", ok: isOrigin(c.UpstreamURL)},
		{variable: "PORT", ok: c.Port >= 0 && c.Port <= 65535},
		{variable: "UPSTREAM_URL", ok: !isSelf(c.UpstreamURL, c.Port), beside: "PORT"},
		{variable: "REDIS_URL", ok: c.RedisURL == "" || isRedis(string(c.RedisURL))},
		{variable: "REDIS_PREFIX", ok: isPrefix(c.RedisPrefix)},
		{variable: "MEMORY_LIMIT", ok: isSize(c.MemoryLimit)},
		{variable: "MAX_ENTRY", ok: isSize(c.MaxEntry)},
		{variable: "MAX_ENTRY", ok: c.MaxEntry <= c.MemoryLimit, beside: "MEMORY_LIMIT"},
		{variable: "MAX_REQUEST", ok: isSize(c.MaxRequest)},
		{variable: "CACHE_TTL", ok: c.CacheTTL > 0 && isTime(c.CacheTTL)},
		{variable: "STALE_TTL", ok: isTime(c.StaleTTL)},
		{variable: "DATA_DATE_INTERVAL", ok: c.DataDateInterval > 0 && isTime(c.DataDateInterval)},
		{variable: "DATA_DATE_TICKERS", ok: areTickers(c.DataDateTickers)},
		{variable: "SYNC_SETTLE", ok: isTime(c.SyncSettle)},
		{variable: "PROVISIONAL_TTL", ok: isTime(c.ProvisionalTTL)},
		{variable: "REVISION_INTERVAL", ok: isTime(c.RevisionInterval)},
		{variable: "REVISION_MAX", ok: isTime(c.RevisionMax)},
		{variable: "REVISION_MAX", ok: c.RevisionMax >= c.RevisionInterval, beside: "REVISION_INTERVAL"},
		{variable: "WARM_CONCURRENCY", ok: c.WarmConcurrency >= 1 && c.WarmConcurrency <= 64},
		{variable: "WARM_JOURNAL", ok: c.WarmJournal >= 0 && c.WarmJournal <= 10_000_000},
		{variable: "UPSTREAM_EMAIL", ok: c.UpstreamEmail == "" || c.UpstreamPassword != "", beside: "UPSTREAM_PASSWORD"},
		{variable: "UPSTREAM_PASSWORD", ok: c.UpstreamPassword == "" || c.UpstreamEmail != "", beside: "UPSTREAM_EMAIL"},
		{variable: "UPSTREAM_AUTHORIZATION", ok: isLine(string(c.UpstreamAuthorization))},
		{variable: "UPSTREAM_AUTHORIZATION", ok: c.UpstreamAuthorization == "" || c.UpstreamEmail == "", beside: "UPSTREAM_EMAIL"},
		{variable: "AUDIT_RATE", ok: c.AuditRate >= 0 && c.AuditRate <= 1},
		{variable: "CORRELATIONS_DATABASE_URL", ok: c.CorrelationsDatabaseURL == "" || isPostgres(string(c.CorrelationsDatabaseURL))},
		{variable: "CREDENTIAL_HEADERS", ok: areHeaders(c.CredentialHeaders)},
		{variable: "BYPASS_HEADER", ok: isHeaderOfItsOwn(c.BypassHeader)},
		{variable: "BYPASS_TOKEN", ok: isWord(string(c.BypassToken)) && !strings.Contains(string(c.BypassToken), ";")},
		{variable: "ADMIN_TOKEN", ok: isWord(string(c.AdminToken))},
		{variable: "UPSTREAM_TIMEOUT", ok: c.UpstreamTimeout > 0 && isTime(c.UpstreamTimeout)},
		{variable: "DRAIN", ok: isTime(c.Drain)},
	} {
		if check.ok {
			continue
		}
		f := fieldOf(check.variable)
		got := shown(f, given(f))
		if check.beside != "" {
			other := fieldOf(check.beside)
			got += fmt.Sprintf(" while %s is %s", check.beside, shown(other, given(other)))
		}
		return wrong(f, got)
	}
	return nil
}

// wrong is the one line: the variable, what it got, what it takes.
func wrong(f reflect.StructField, got string) error {
	return fmt.Errorf("%s: got %s; it takes %s", variable(f), got, f.Tag.Get("takes"))
}

// shown quotes a value for an error, unless it is a secret or may hold one.
func shown(f reflect.StructField, value string) string {
	switch {
	case value == "":
		return "nothing"
	case f.Type == reflect.TypeFor[Secret]():
		return "a value that is not shown here"
	case f.Type == reflect.TypeFor[*url.URL]() && strings.Contains(value, "@"):
		return "a URL with credentials, not shown here"
	}
	return fmt.Sprintf("%.200q", value)
}

// text writes a parsed value as it could have been given.
func text(value any) string {
	switch v := value.(type) {
	case Secret:
		return string(v)
	case []string:
		return strings.Join(v, ",")
	case *url.URL:
		if v == nil {
			return ""
		}
	}
	return fmt.Sprint(value)
}

// fieldOf finds the field that is read from an environment variable.
func fieldOf(name string) reflect.StructField {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if f := t.Field(i); variable(f) == name {
			return f
		}
	}
	return reflect.StructField{}
}

// variable is the environment variable that a field is read from.
func variable(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}

func isSize(b Bytes) bool { return b > 0 && b <= maxBytes }

func isTime(d time.Duration) bool { return d >= 0 && d <= maxDuration }
