package config

import (
	"strings"
	"testing"
)

func TestWhatCantWorkIsRefusedInOneLineThatNamesTheVariable(t *testing.T) {
	const hidden = "a value that is not shown here"
	for _, c := range []struct {
		why      string
		variable string // that the line names
		got      string // that the line shows
		environ  map[string]string
	}{
		{"no upstream", "UPSTREAM_URL", "nothing", map[string]string{}},
		{"an empty upstream", "UPSTREAM_URL", "nothing", set("UPSTREAM_URL", "")},
		{"another scheme", "UPSTREAM_URL", `"ftp://x"`, set("UPSTREAM_URL", "ftp://x")},
		{"no scheme", "UPSTREAM_URL", `"server:8787"`, set("UPSTREAM_URL", "server:8787")},
		{"no host", "UPSTREAM_URL", `"http://"`, set("UPSTREAM_URL", "http://")},
		{"a port without a host", "UPSTREAM_URL", `"http://:8787"`, set("UPSTREAM_URL", "http://:8787")},
		{"a port out of range", "UPSTREAM_URL", `"http://x:65536"`, set("UPSTREAM_URL", "http://x:65536")},
		{"a path", "UPSTREAM_URL", `"http://x/api"`, set("UPSTREAM_URL", "http://x/api")},
		{"a query", "UPSTREAM_URL", `"http://x?y"`, set("UPSTREAM_URL", "http://x?y")},
		{"an empty query", "UPSTREAM_URL", `"http://x?"`, set("UPSTREAM_URL", "http://x?")},
		{"a fragment", "UPSTREAM_URL", `"http://x#y"`, set("UPSTREAM_URL", "http://x#y")},
		{"credentials", "UPSTREAM_URL", "not shown here", set("UPSTREAM_URL", "http://u:secret@x")},
		{"credentials in what is no URL", "UPSTREAM_URL", "not shown here", set("UPSTREAM_URL", "http://u:secret@x:port")},
		{"a line break", "UPSTREAM_URL", `"http://x\n"`, set("UPSTREAM_URL", "http://x\n")},
		{"itself by name", "UPSTREAM_URL", `"http://localhost:8080" while PORT is "8080"`, set("UPSTREAM_URL", "http://localhost:8080")},
		{"itself by address", "UPSTREAM_URL", `while PORT is "80"`, set("UPSTREAM_URL", "http://[::1]", "PORT", "80")},

		{"a port over the last", "PORT", `"65536"`, set("PORT", "65536")},
		{"a negative port", "PORT", `"-1"`, set("PORT", "-1")},
		{"a port by name", "PORT", `"http"`, set("PORT", "http")},

		{"Redis over HTTP", "REDIS_URL", hidden, set("REDIS_URL", "http://secret")},
		{"Redis nowhere", "REDIS_URL", hidden, set("REDIS_URL", "redis://")},
		{"Redis at an empty reference", "REDIS_URL", hidden, set("REDIS_URL", "redis://default:secret@:6379")},
		{"Redis in what is no URL", "REDIS_URL", hidden, set("REDIS_URL", ":%secret")},
		{"Redis at no port", "REDIS_URL", hidden, set("REDIS_URL", "redis://u:secret@h:port")},
		{"Redis at a port out of range", "REDIS_URL", hidden, set("REDIS_URL", "redis://h:99999")},
		{"a Redis database by name", "REDIS_URL", hidden, set("REDIS_URL", "redis://h/secret")},
		{"a Redis option that is none", "REDIS_URL", hidden, set("REDIS_URL", "redis://h?secret=1")},
		{"a socket nowhere", "REDIS_URL", hidden, set("REDIS_URL", "unix://")},
		{"a cluster's node at no port", "REDIS_URL", hidden, set("REDIS_URL", "redis://h?addr=secret:x")},
		{"a cluster's option that is none", "REDIS_URL", hidden, set("REDIS_URL", "redis://h?addr=h2:1&secret=1")},
		{"a Sentinel without a master", "REDIS_URL", hidden, set("REDIS_URL", "redis://h?master_name=")},
		{"a Sentinel's database by name", "REDIS_URL", hidden, set("REDIS_URL", "redis://h/secret?master_name=m")},
		{"a prefix with a space", "REDIS_PREFIX", `"a b"`, set("REDIS_PREFIX", "a b")},
		{"a prefix that doesn't print", "REDIS_PREFIX", `"\x1b:"`, set("REDIS_PREFIX", "\x1b:")},
		{"the server's candles", "REDIS_PREFIX", `"candles:"`, set("REDIS_PREFIX", "candles:")},
		{"the server's indicators", "REDIS_PREFIX", `"indicator:x"`, set("REDIS_PREFIX", "indicator:x")},
		{"the server's correlations", "REDIS_PREFIX", `"correlation:"`, set("REDIS_PREFIX", "correlation:")},
		{"the server's backtests", "REDIS_PREFIX", `"backtest:"`, set("REDIS_PREFIX", "backtest:")},
		{"the server's sanity reports", "REDIS_PREFIX", `"sanity:"`, set("REDIS_PREFIX", "sanity:")},
		{"the server's benchmarks", "REDIS_PREFIX", `"benchmark:"`, set("REDIS_PREFIX", "benchmark:")},

		{"a size in words", "MEMORY_LIMIT", `"lots"`, set("MEMORY_LIMIT", "lots")},
		{"no size", "MEMORY_LIMIT", `"0"`, set("MEMORY_LIMIT", "0")},
		{"a negative size", "MAX_REQUEST", `"-1MiB"`, set("MAX_REQUEST", "-1MiB")},
		{"a size to which nothing can be added", "MAX_REQUEST", `"9223372036854775807"`, set("MAX_REQUEST", "9223372036854775807")},
		{"a size over all bounds", "MAX_ENTRY", `"17EiB"`, set("MAX_ENTRY", "17EiB")},
		{"an entry over the limit", "MAX_ENTRY", `"1GiB" while MEMORY_LIMIT is "256MiB"`, set("MAX_ENTRY", "1GiB")},
		{"a limit under the entry", "MAX_ENTRY", `"16MiB" while MEMORY_LIMIT is "8MiB"`, set("MEMORY_LIMIT", "8MiB")},

		{"answers that are never fresh", "CACHE_TTL", `"0s"`, set("CACHE_TTL", "0s")},
		{"a duration without a unit", "CACHE_TTL", `"24"`, set("CACHE_TTL", "24")},
		{"a duration to which nothing can be added", "CACHE_TTL", `"2562047h"`, set("CACHE_TTL", "2562047h")},
		{"a negative stale time", "STALE_TTL", `"-1s"`, set("STALE_TTL", "-1s")},
		{"no pause between questions", "DATA_DATE_INTERVAL", `"0"`, set("DATA_DATE_INTERVAL", "0")},
		{"a negative interval", "DATA_DATE_INTERVAL", `"-5s"`, set("DATA_DATE_INTERVAL", "-5s")},
		{"a gap in the tickers", "DATA_DATE_TICKERS", `"SPY,,QQQ"`, set("DATA_DATE_TICKERS", "SPY,,QQQ")},
		{"no tickers", "DATA_DATE_TICKERS", `","`, set("DATA_DATE_TICKERS", ",")},
		{"a ticker in lower case", "DATA_DATE_TICKERS", `"spy"`, set("DATA_DATE_TICKERS", "spy")},
		{"a settling time in words", "SYNC_SETTLE", `"soon"`, set("SYNC_SETTLE", "soon")},
		{"a negative settling time", "SYNC_SETTLE", `"-1m"`, set("SYNC_SETTLE", "-1m")},
		{"a negative provisional time", "PROVISIONAL_TTL", `"-30s"`, set("PROVISIONAL_TTL", "-30s")},
		{"a longest time under the interval", "REVISION_MAX", `"1s" while REVISION_INTERVAL is "5s"`, set("REVISION_MAX", "1s")},
		{"a negative revision interval", "REVISION_INTERVAL", `"-1s"`, set("REVISION_INTERVAL", "-1s")},
		{"an upstream that has no time", "UPSTREAM_TIMEOUT", `"0s"`, set("UPSTREAM_TIMEOUT", "0s")},
		{"a negative drain", "DRAIN", `"-1s"`, set("DRAIN", "-1s")},

		{"neither true nor false", "WARM", `"maybe"`, set("WARM", "maybe")},
		{"a warm loop that can't ask", "WARM_CONCURRENCY", `"0"`, set("WARM_CONCURRENCY", "0")},
		{"a warm loop that asks too much", "WARM_CONCURRENCY", `"65"`, set("WARM_CONCURRENCY", "65")},
		{"a negative journal", "WARM_JOURNAL", `"-1"`, set("WARM_JOURNAL", "-1")},
		{"more audits than hits", "AUDIT_RATE", `"1.5"`, set("AUDIT_RATE", "1.5")},
		{"fewer audits than none", "AUDIT_RATE", `"-0.1"`, set("AUDIT_RATE", "-0.1")},
		{"audits that are no number", "AUDIT_RATE", `"NaN"`, set("AUDIT_RATE", "NaN")},
		{"write-back neither on nor off", "METRICS_WRITEBACK", `"2"`, set("METRICS_WRITEBACK", "2")},

		{"a login without its password", "UPSTREAM_EMAIL", `"a@b.c" while UPSTREAM_PASSWORD is nothing`, set("UPSTREAM_EMAIL", "a@b.c")},
		{"a password without its login", "UPSTREAM_PASSWORD", hidden + " while UPSTREAM_EMAIL is nothing", set("UPSTREAM_PASSWORD", "secret")},
		{"a login and an authorization", "UPSTREAM_AUTHORIZATION", hidden,
			set("UPSTREAM_EMAIL", "a@b.c", "UPSTREAM_PASSWORD", "secret", "UPSTREAM_AUTHORIZATION", "secret")},
		{"an authorization of two lines", "UPSTREAM_AUTHORIZATION", hidden, set("UPSTREAM_AUTHORIZATION", "Bearer\nsecret")},
		{"another database", "CORRELATIONS_DATABASE_URL", hidden, set("CORRELATIONS_DATABASE_URL", "mysql://secret@x")},
		{"a database nowhere", "CORRELATIONS_DATABASE_URL", hidden, set("CORRELATIONS_DATABASE_URL", "postgres://")},
		{"an access of no kind", "ACCESS", `"everyone"`, set("ACCESS", "everyone")},
		{"a gap in the headers", "CREDENTIAL_HEADERS", `"X-Desk,,X-Floor"`, set("CREDENTIAL_HEADERS", "X-Desk,,X-Floor")},
		{"a header that can't be", "CREDENTIAL_HEADERS", `"X Desk"`, set("CREDENTIAL_HEADERS", "X Desk")},
		{"a header that the server never sees", "CREDENTIAL_HEADERS", `"Proxy-Authorization"`, set("CREDENTIAL_HEADERS", "Proxy-Authorization")},
		{"the header of credentials", "BYPASS_HEADER", `"Authorization"`, set("BYPASS_HEADER", "Authorization")},
		{"a header of negotiation", "BYPASS_HEADER", `"accept-language"`, set("BYPASS_HEADER", "accept-language")},
		{"a header of conditions", "BYPASS_HEADER", `"If-Match"`, set("BYPASS_HEADER", "If-Match")},
		{"what can't be a header", "BYPASS_HEADER", `"a:b"`, set("BYPASS_HEADER", "a:b")},
		{"a header with a space", "BYPASS_HEADER", `"not a header"`, set("BYPASS_HEADER", "not a header")},
		{"a token with the separator", "BYPASS_TOKEN", hidden, set("BYPASS_TOKEN", "secret;secret")},
		{"a token with a line break", "BYPASS_TOKEN", hidden, set("BYPASS_TOKEN", "secret\n")},
		{"a token that no header carries", "ADMIN_TOKEN", hidden, set("ADMIN_TOKEN", "sécret")},
		{"a level of no kind", "LOG_LEVEL", `"loud"`, set("LOG_LEVEL", "loud")},
		{"a format of no kind", "LOG_FORMAT", `"xml"`, set("LOG_FORMAT", "xml")},
	} {
		t.Run(c.why, func(t *testing.T) {
			cfg, err := Load(c.environ)
			if err == nil {
				t.Fatalf("taken: %+v", cfg)
			}
			line := err.Error()
			if !strings.HasPrefix(line, c.variable+": got ") || !strings.Contains(line, c.got) || !strings.Contains(line, "; it takes ") {
				t.Errorf("%s\nwant %s and what it got, %s", line, c.variable, c.got)
			}
			if strings.ContainsAny(line, "\n\r") || strings.Contains(line, "secret") {
				t.Errorf("%q\nmust be one line without secrets", line)
			}
		})
	}
}

func TestWhatCanWorkIsTaken(t *testing.T) {
	for variable, values := range map[string][]string{
		"UPSTREAM_URL":              {"http://x", "https://x/", "HTTP://X:1", "http://[::1]:8787", "http://localhost:8787"},
		"PORT":                      {"0", "65535"},
		"REDIS_URL":                 {"redis://h", "rediss://u:p@h:6380/2", "unix:///run/redis.sock?db=1", "redis://h:1?addr=h2:2&addr=h3:3", "redis://s:26379/1?master_name=m"},
		"REDIS_PREFIX":              {"wf/2:", "my-candles:"},
		"MEMORY_LIMIT":              {"256 MiB", "1gb", "268435456", "1.5GiB", "1EiB"},
		"CACHE_TTL":                 {"1ns", "1h30m", "87600h"},
		"STALE_TTL":                 {"0s"},
		"REVISION_INTERVAL":         {"0", "100ms", "1h"},
		"REVISION_MAX":              {"5s", "1h"},
		"DRAIN":                     {"0s"},
		"DATA_DATE_TICKERS":         {"SPY", "SPY,BRK.B,^GSPC,ES=F,BTC-USD"},
		"AUDIT_RATE":                {"0", "1"},
		"WARM_JOURNAL":              {"0"},
		"WARM":                      {"false", "true"},
		"UPSTREAM_AUTHORIZATION":    {"Bearer a.b.c"},
		"CORRELATIONS_DATABASE_URL": {"postgres://u:p@h:5432/db?sslmode=disable", "postgresql:///db?host=/run/postgresql"},
		"ACCESS":                    {"public", "granted", "auto"},
		"CREDENTIAL_HEADERS":        {"X-Desk", "X-Desk, X-Floor", "X-Forwarded-For"},
		"BYPASS_HEADER":             {"X-Cache-Bypass", "x-fresh"},
		"BYPASS_TOKEN":              {"correct=horse,battery"},
		"LOG_LEVEL":                 {"debug", "info", "warn", "error"},
		"LOG_FORMAT":                {"json", "console"},
		"EPOCH":                     {"engine 2, März"},
	} {
		for _, value := range values {
			t.Run(variable+" "+value, func(t *testing.T) {
				if _, err := Load(set(variable, value)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestABareConfigIsRefusedAndNotCrashedOn(t *testing.T) {
	err := (&Config{}).Validate()
	if err == nil || !strings.HasPrefix(err.Error(), "UPSTREAM_URL: got nothing; it takes ") {
		t.Error(err)
	}
}
