package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestOnlyTheUpstreamIsNeeded(t *testing.T) {
	cfg, err := Load(map[string]string{"UPSTREAM_URL": "http://server.railway.internal:8787", "PORT": "", "UNRELATED": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.UpstreamURL.Host != "server.railway.internal:8787" || cfg.Port != 8080 || cfg.MemoryLimit != 256<<20 || cfg.MaxEntry != 16<<20 ||
		cfg.CacheTTL != 24*time.Hour || cfg.RevisionInterval != 5*time.Second || cfg.RedisPrefix != "warmfront:" || !cfg.Warm ||
		cfg.AuditRate != 0.005 || cfg.Access != AccessAuto || cfg.BypassHeader != "X-Cache-Bypass" || fmt.Sprint(cfg.DataDateTickers) != "[SPY]" {
		t.Errorf("defaults: %+v", cfg)
	}
}

func TestWhatCantWorkIsRefusedInOneLineThatNamesTheVariable(t *testing.T) {
	for _, c := range []struct{ set, names, got string }{
		{"UPSTREAM_URL=", "UPSTREAM_URL", "nothing"},
		{"UPSTREAM_URL=ftp://x", "UPSTREAM_URL", `"ftp://x"`},
		{"UPSTREAM_URL=http://", "UPSTREAM_URL", `"http:"`},
		{"UPSTREAM_URL=server:8787", "UPSTREAM_URL", `"server:8787"`},
		{"UPSTREAM_URL=http://x/api", "UPSTREAM_URL", `"http://x/api"`},
		{"UPSTREAM_URL=http://x?y", "UPSTREAM_URL", `"http://x?y"`},
		{"UPSTREAM_URL=http://u:secret@x", "UPSTREAM_URL", "not shown here"},
		{"UPSTREAM_URL=http://u:secret@x:port", "UPSTREAM_URL", "not shown here"},
		{"PORT=65536", "PORT", `"65536"`}, {"PORT=-1", "PORT", `"-1"`}, {"PORT=http", "PORT", `"http"`},
		{"REDIS_URL=http://secret", "REDIS_URL", "not shown"}, {"REDIS_URL=redis://", "REDIS_URL", "not shown"},
		{"REDIS_URL=:%secret", "REDIS_URL", "not shown"},
		{"REDIS_PREFIX=a b", "REDIS_PREFIX", `"a b"`}, {"REDIS_PREFIX=candles:", "REDIS_PREFIX", `"candles:"`},
		{"MEMORY_LIMIT=lots", "MEMORY_LIMIT", `"lots"`}, {"MEMORY_LIMIT=0", "MEMORY_LIMIT", `"0"`}, {"MAX_REQUEST=-1MiB", "MAX_REQUEST", `"-1MiB"`},
		{"MAX_ENTRY=1GiB", "MAX_ENTRY", "1.0 GiB"}, {"MAX_ENTRY=17EiB", "MAX_ENTRY", "17EiB"},
		{"CACHE_TTL=0s", "CACHE_TTL", `"0s"`}, {"CACHE_TTL=24", "CACHE_TTL", `"24"`}, {"STALE_TTL=-1s", "STALE_TTL", `"-1s"`},
		{"DATA_DATE_INTERVAL=0", "DATA_DATE_INTERVAL", "0"}, {"DATA_DATE_TICKERS=SPY,,QQQ", "DATA_DATE_TICKERS", "SPY,,QQQ"},
		{"DATA_DATE_TICKERS=spy", "DATA_DATE_TICKERS", `"spy"`}, {"SYNC_SETTLE=soon", "SYNC_SETTLE", `"soon"`},
		{"PROVISIONAL_TTL=-30s", "PROVISIONAL_TTL", "-30s"}, {"REVISION_INTERVAL=-1s", "REVISION_INTERVAL", "-1s"},
		{"WARM=maybe", "WARM", `"maybe"`}, {"WARM_CONCURRENCY=0", "WARM_CONCURRENCY", `"0"`}, {"WARM_JOURNAL=-1", "WARM_JOURNAL", `"-1"`},
		{"UPSTREAM_EMAIL=a@b.c", "UPSTREAM_EMAIL", "a@b.c"}, {"UPSTREAM_PASSWORD=secret", "UPSTREAM_PASSWORD", "not shown"},
		{"UPSTREAM_EMAIL=a@b.c UPSTREAM_PASSWORD=secret UPSTREAM_AUTHORIZATION=secret", "UPSTREAM_AUTHORIZATION", "not shown"},
		{"AUDIT_RATE=1.5", "AUDIT_RATE", "1.5"}, {"AUDIT_RATE=NaN", "AUDIT_RATE", "NaN"},
		{"CORRELATIONS_DATABASE_URL=mysql://secret@x", "CORRELATIONS_DATABASE_URL", "not shown"},
		{"ACCESS=everyone", "ACCESS", `"everyone"`}, {"METRICS_WRITEBACK=2", "METRICS_WRITEBACK", `"2"`},
		{"BYPASS_HEADER=Authorization", "BYPASS_HEADER", `"Authorization"`}, {"BYPASS_HEADER=a:b", "BYPASS_HEADER", `"a:b"`},
		{"BYPASS_TOKEN=secret;secret", "BYPASS_TOKEN", "not shown"}, {"ADMIN_TOKEN=sécret", "ADMIN_TOKEN", "not shown"},
		{"UPSTREAM_TIMEOUT=0s", "UPSTREAM_TIMEOUT", "0s"}, {"DRAIN=-1s", "DRAIN", "-1s"},
		{"LOG_LEVEL=loud", "LOG_LEVEL", `"loud"`}, {"LOG_FORMAT=xml", "LOG_FORMAT", `"xml"`},
	} {
		environ := map[string]string{"UPSTREAM_URL": "http://x"}
		for pair := range strings.SplitSeq(c.set, " ") {
			if name, value, ok := strings.Cut(pair, "="); ok && name == strings.ToUpper(name) {
				environ[name] = value
			} else { // the rest of a value with a space in it
				environ[c.names] += " " + pair
			}
		}
		cfg, err := Load(environ)
		if err == nil {
			t.Errorf("%s was taken: %+v", c.set, cfg)
			continue
		}
		line := err.Error()
		if !strings.HasPrefix(line, c.names+": got ") || !strings.Contains(line, c.got) || !strings.Contains(line, "; it takes ") ||
			strings.ContainsAny(line, "\n\r") || strings.Contains(line, "secret") {
			t.Errorf("%s: %s\nwant one line that names %s and shows %s", c.set, line, c.names, c.got)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	cfg, err := Load(map[string]string{"UPSTREAM_URL": "http://x", "REDIS_URL": "redis://u:hidden@h:1", "ADMIN_TOKEN": "hidden", "BYPASS_TOKEN": "hidden"})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(format, cfg); strings.Contains(out, "hidden") {
			t.Errorf("%s prints a secret: %s", format, out)
		}
	}
}

func TestHelpTellsEveryVariable(t *testing.T) {
	var out bytes.Buffer
	Help(&out)
	for _, row := range Table() {
		if row.Meaning == "" || !strings.Contains(out.String(), row.Variable+" ") {
			t.Errorf("%s is missing or has no meaning in the help:\n%s", row.Variable, out.String())
		}
	}
	for _, name := range Coming() {
		if fieldOf(name).Name == "" {
			t.Errorf("Coming names %s, which is no variable", name)
		}
	}
}

func TestREADMEHasTheTableOfTheStruct(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range Table() {
		want := fmt.Sprintf("| `%s` | %s | %s |", row.Variable, row.Default, row.describe())
		if !strings.Contains(string(readme), want) {
			t.Errorf("README.md lacks the line\n%s", want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("http://x", "256MiB", "30s", "SPY,QQQ", "redis://x")
	f.Add("http://[::1]:8787/", "1e3", "-1h", ",", "unix:///x")
	f.Fuzz(func(t *testing.T, upstream, size, duration, tickers, redis string) {
		_, err := Load(map[string]string{
			"UPSTREAM_URL": upstream, "MAX_REQUEST": size, "CACHE_TTL": duration, "DATA_DATE_TICKERS": tickers, "REDIS_URL": redis,
		})
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("more than one line: %q", err)
		}
	})
}
