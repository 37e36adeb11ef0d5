package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// upstream is the only variable that is needed.
const upstream = "http://server.railway.internal:8787"

// set is an environment that could work, with the variables of pairs on top.
func set(pairs ...string) map[string]string {
	environ := map[string]string{"UPSTREAM_URL": upstream}
	for i := 0; i < len(pairs); i += 2 {
		environ[pairs[i]] = pairs[i+1]
	}
	return environ
}

func TestOnlyTheUpstreamIsNeededAndTheRestHasItsDefault(t *testing.T) {
	for name, environ := range map[string]map[string]string{
		"unset":         set("UNRELATED", "x"),
		"set but empty": set("PORT", "", "REDIS_PREFIX", "", "MEMORY_LIMIT", "", "CACHE_TTL", "", "DATA_DATE_TICKERS", "", "WARM", "", "ACCESS", "", "LOG_LEVEL", ""),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Load(environ)
			if err != nil {
				t.Fatal(err)
			}
			if got.UpstreamURL.String() != upstream {
				t.Errorf("upstream %v", got.UpstreamURL)
			}
			got.UpstreamURL = nil
			want := Config{
				Port: 8080, RedisPrefix: "warmfront:", MemoryLimit: 256 << 20, MaxEntry: 16 << 20, MaxRequest: 16 << 20,
				CacheTTL: 24 * time.Hour, StaleTTL: 24 * time.Hour, DataDateInterval: 15 * time.Second, DataDateTickers: []string{"SPY"},
				SyncSettle: 20 * time.Minute, ProvisionalTTL: 30 * time.Second, RevisionInterval: 5 * time.Second, RevisionMax: time.Minute,
				Warm: true, WarmConcurrency: 2, WarmJournal: 10_000, AuditRate: 0.005, Access: AccessAuto, MetricsWriteback: true,
				BypassHeader: "X-Cache-Bypass", UpstreamTimeout: 2 * time.Minute, Drain: 25 * time.Second, LogLevel: LogInfo, LogFormat: LogJSON,
			}
			if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestTheLoadedConfigurationIsTheCallersOwn(t *testing.T) {
	environ := set("PORT", "")
	before := maps.Clone(environ)
	if _, err := Load(environ); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(environ, before) {
		t.Errorf("Load changed its argument: %v", environ)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	cfg, err := Load(set("REDIS_URL", "redis://u:hidden@h:1", "ADMIN_TOKEN", "hidden", "BYPASS_TOKEN", "hidden",
		"UPSTREAM_EMAIL", "a@b.c", "UPSTREAM_PASSWORD", "hidden", "CORRELATIONS_DATABASE_URL", "postgres://u:hidden@h/db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		out := fmt.Sprintf(format, cfg)
		if strings.Contains(out, "hidden") || strings.Contains(out, "68696464656e") {
			t.Errorf("%s prints a secret: %s", format, out)
		}
	}
	out, err := json.Marshal(cfg)
	if err != nil || bytes.Contains(out, []byte("hidden")) || !bytes.Contains(out, []byte(`"AdminToken":"***"`)) {
		t.Errorf("as JSON: %s, %v", out, err)
	}
	if cfg.AdminToken != "hidden" || Secret("").String() != "" {
		t.Error("a secret must stay readable by who asks for it, and an empty one seen to be empty")
	}
}

func TestHelpTellsEveryVariable(t *testing.T) {
	var out bytes.Buffer
	Help(&out)
	for _, row := range Table() {
		if row.Meaning == "" || fieldOf(row.Variable).Tag.Get("takes") == "" {
			t.Errorf("%s says too little of itself: %+v", row.Variable, row)
		}
		if !strings.Contains(out.String(), "\n"+row.Variable+" ") || !strings.Contains(out.String(), row.Meaning) {
			t.Errorf("%s is missing in the help:\n%s", row.Variable, out.String())
		}
	}
}

func TestTheREADMEHasTheTableOfTheStruct(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Variables\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var has, wants []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			// Backticks only keep Markdown away from what is in them.
			has = append(has, strings.ReplaceAll(strings.TrimSpace(line), "`", ""))
		}
	}
	for _, row := range Table() {
		wants = append(wants, fmt.Sprintf("| %s | %s | %s |", row.Variable, row.Default, row.Meaning))
	}
	for _, line := range wants {
		if !slices.Contains(has, line) {
			t.Errorf("README.md lacks\n%s", line)
		}
	}
	for _, line := range has {
		if !slices.Contains(wants, line) {
			t.Errorf("README.md has, and the struct has not\n%s", line)
		}
	}
	if !t.Failed() && !slices.Equal(has, wants) {
		t.Error("README.md has the variables in another order")
	}
}

func FuzzLoad(f *testing.F) {
	const secret = "s3cr3t-0f-m1n3"
	f.Add("http://x", "256MiB", "30s", "SPY,QQQ", "redis://x")
	f.Add("http://[::1]:8787/", "1e3", "-1h", ",", "unix:///x")
	f.Add("https://a:99999#", "9223372036854775807", "2562047h47m16.854775807s", "^GSPC", "rediss://u:p@h:1/0?addr=h:2")
	f.Add("http://u:p@x\n", "1,0.5kb", "1h1", "BRK.B\x00", "redis://h?master_name=m&db=x")
	f.Fuzz(func(t *testing.T, upstream, size, duration, tickers, redis string) {
		for _, s := range []string{upstream, size, duration, tickers} {
			if strings.Contains(s, secret) {
				t.Skip()
			}
		}
		cfg, err := Load(map[string]string{
			"UPSTREAM_URL": upstream, "MAX_REQUEST": size, "CACHE_TTL": duration, "DATA_DATE_TICKERS": tickers, "REDIS_URL": redis + secret,
		})
		if err != nil {
			name, rest, _ := strings.Cut(err.Error(), ":")
			if fieldOf(name).Name == "" || !strings.Contains(rest, "; it takes ") || strings.ContainsAny(rest, "\n\r") || strings.Contains(rest, secret) {
				t.Errorf("not one line that names a variable and keeps secrets: %q", err)
			}
			return
		}
		if cfg.MaxRequest <= 0 || cfg.MaxRequest+1 <= 0 || cfg.CacheTTL <= 0 || cfg.CacheTTL+cfg.StaleTTL <= 0 ||
			cfg.UpstreamURL.Hostname() == "" || len(cfg.DataDateTickers) == 0 {
			t.Errorf("taken, and can't work: %+v", cfg)
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("taken by Load, refused by Validate: %v", err)
		}
	})
}
