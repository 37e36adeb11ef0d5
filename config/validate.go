package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Validate reports the first value that can't work or contradicts another, in one line.
func (c *Config) Validate() error {
	for _, check := range []struct {
		variable string
		ok       bool
	}{
		{"UPSTREAM_URL", isOrigin(c.UpstreamURL)},
		{"PORT", c.Port >= 0 && c.Port <= 65535},
		{"REDIS_URL", c.RedisURL == "" || hasScheme(c.RedisURL, "redis", "rediss", "unix")},
		{"REDIS_PREFIX", isPrefix(c.RedisPrefix)},
		{"MAX_ENTRY", c.MaxEntry <= c.MemoryLimit},
		{"CACHE_TTL", c.CacheTTL > 0},
		{"STALE_TTL", c.StaleTTL >= 0},
		{"DATA_DATE_INTERVAL", c.DataDateInterval > 0},
		{"DATA_DATE_TICKERS", areTickers(c.DataDateTickers)},
		{"SYNC_SETTLE", c.SyncSettle >= 0},
		{"PROVISIONAL_TTL", c.ProvisionalTTL >= 0},
		{"REVISION_INTERVAL", c.RevisionInterval >= 0},
		{"WARM_CONCURRENCY", c.WarmConcurrency >= 1 && c.WarmConcurrency <= 64},
		{"WARM_JOURNAL", c.WarmJournal >= 0 && c.WarmJournal <= 10_000_000},
		{"UPSTREAM_EMAIL", c.UpstreamEmail == "" || c.UpstreamPassword != ""},
		{"UPSTREAM_PASSWORD", c.UpstreamPassword == "" || c.UpstreamEmail != ""},
		{"UPSTREAM_AUTHORIZATION", c.UpstreamAuthorization == "" || c.UpstreamEmail == "" && isLine(string(c.UpstreamAuthorization))},
		{"AUDIT_RATE", c.AuditRate >= 0 && c.AuditRate <= 1},
		{"CORRELATIONS_DATABASE_URL", c.CorrelationsDatabaseURL == "" || hasScheme(c.CorrelationsDatabaseURL, "postgres", "postgresql")},
		{"BYPASS_HEADER", isHeaderOfItsOwn(c.BypassHeader)},
		{"BYPASS_TOKEN", isWord(string(c.BypassToken)) && !strings.Contains(string(c.BypassToken), ";")},
		{"ADMIN_TOKEN", isWord(string(c.AdminToken))},
		{"UPSTREAM_TIMEOUT", c.UpstreamTimeout > 0},
		{"DRAIN", c.Drain >= 0},
	} {
		if !check.ok {
			f := fieldOf(check.variable)
			value := reflect.ValueOf(*c).FieldByIndex(f.Index).Interface()
			return wrong(check.variable, shown(f, text(value)))
		}
	}
	return nil
}

// wrong is the one line: the variable, what it got, what it takes.
func wrong(variable, got string) error {
	return fmt.Errorf("%s: got %s; it takes %s", variable, got, fieldOf(variable).Tag.Get("takes"))
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
	case time.Duration:
		return v.String()
	}
	return fmt.Sprint(value)
}

func fieldOf(variableName string) reflect.StructField {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if f := t.Field(i); variable(f) == variableName {
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

// isOrigin: requests go on with their own path and query, so the address has none.
func isOrigin(u *url.URL) bool {
	return u != nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.Opaque == ""
}

func hasScheme(secret Secret, schemes ...string) bool {
	u, err := url.Parse(string(secret))
	return err == nil && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.Path != "")
}

// isPrefix keeps Warmfront's keys apart from those of the server, which it deletes by pattern.
func isPrefix(p string) bool {
	if p == "" || !isWord(p) {
		return false
	}
	for _, own := range []string{"candles:", "indicator:", "correlation:", "backtest:", "sanity:", "benchmark:"} {
		if strings.HasPrefix(p, own) {
			return false
		}
	}
	return true
}

func areTickers(tickers []string) bool {
	for _, t := range tickers {
		if t == "" || strings.Trim(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=^-") != "" {
			return false
		}
	}
	return len(tickers) > 0
}

// isWord reports whether s is printable ASCII without spaces; the empty text is.
func isWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// isLine reports whether s can be a header field's value.
func isLine(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// isHeaderOfItsOwn: a token (RFC 9110, section 5.6.2) that means nothing else already.
func isHeaderOfItsOwn(name string) bool {
	if name == "" || strings.IndexFunc(name, func(r rune) bool {
		return r > '~' || r < '!' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) >= 0 {
		return false
	}
	switch strings.ToLower(name) {
	case "accept", "accept-encoding", "authorization", "cache-control", "connection", "content-encoding", "content-length",
		"content-type", "cookie", "expect", "host", "if-modified-since", "if-none-match", "origin", "range", "te", "trailer",
		"transfer-encoding", "upgrade", "user-agent", "x-cache-debug", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto":
		return false
	}
	return true
}
