package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// isOrigin: requests go on with their own path and query, so the address has none.
func isOrigin(u *url.URL) bool {
	return u != nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && (u.Port() == "" || isPort(u.Port())) &&
		u.User == nil && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.Opaque == ""
}

// isSelf reports whether a request sent to u would come back to port for ever, as far as the name
// of the host can tell.
func isSelf(u *url.URL, port int) bool {
	if u == nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	ip := net.ParseIP(host)
	local := host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
	own := strconv.Itoa(port)
	return local && (u.Port() == own || u.Port() == "" && (u.Scheme == "http" && own == "80" || u.Scheme == "https" && own == "443"))
}

// isPort reports whether s is a port that can be connected to.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// isRedis asks the client library, which has three forms of address, so that what it would refuse
// later stops the start. Its errors are not passed on: they may quote a part of the secret.
func isRedis(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return false
	}
	if u.Scheme == "unix" {
		_, err := redis.ParseURL(rawURL)
		return err == nil
	}
	// The library would take localhost for a host that is missing: a reference that is empty.
	if u.Hostname() == "" {
		return false
	}
	var addresses []string
	switch q := u.Query(); {
	case q.Has("master_name"):
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil || o.MasterName == "" {
			return false
		}
		addresses = o.SentinelAddrs
	case q.Has("addr"):
		o, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return false
		}
		addresses = o.Addrs
	default:
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return false
		}
		addresses = []string{o.Addr}
	}
	return len(addresses) > 0 && !slices.ContainsFunc(addresses, func(address string) bool {
		_, port, err := net.SplitHostPort(address)
		return err != nil || !isPort(port)
	})
}

func isPostgres(rawURL string) bool {
	u, err := url.Parse(rawURL)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && (u.Host != "" || u.Path != "") &&
		(u.Port() == "" || isPort(u.Port()))
}

// isPrefix keeps Warmfront's keys apart from those of the server, which it deletes by pattern.
func isPrefix(p string) bool {
	return p != "" && isWord(p) && !slices.ContainsFunc(
		[]string{"candles:", "indicator:", "correlation:", "backtest:", "sanity:", "benchmark:"},
		func(own string) bool { return strings.HasPrefix(p, own) })
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

// areHeaders: names of fields that reach the server and may differ from caller to caller.
func areHeaders(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		name = strings.ToLower(strings.TrimSpace(name))
		switch name {
		case "connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade":
			return true
		}
		return !isToken(name) || strings.HasPrefix(name, "proxy-")
	})
}

// isToken: RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && isWord(s) && !strings.ContainsAny(s, `"(),/:;<=>?@[\]{}`)
}

// isHeaderOfItsOwn: a token (RFC 9110, section 5.6.2) that means nothing else to a client, a server
// or Warmfront already.
func isHeaderOfItsOwn(name string) bool {
	if !isToken(name) {
		return false
	}
	name = strings.ToLower(name)
	for _, family := range []string{"accept", "access-control-", "content-", "if-", "proxy-", "sec-", "x-forwarded-"} {
		if strings.HasPrefix(name, family) {
			return false
		}
	}
	switch name {
	case "age", "allow", "authorization", "cache-control", "cache-status", "connection", "cookie", "date", "dnt", "etag", "expect",
		"expires", "forwarded", "from", "host", "keep-alive", "last-modified", "location", "max-forwards", "origin", "pragma", "priority",
		"range", "referer", "server", "server-timing", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade",
		"upgrade-insecure-requests", "user-agent", "vary", "via", "www-authenticate", "x-cache", "x-cache-debug", "x-cache-key",
		"x-cache-tier", "x-real-ip", "x-requested-with":
		return false
	}
	return true
}
