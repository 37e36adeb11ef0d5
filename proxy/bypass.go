package proxy

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// bypassMode is how far a request goes past the cache.
type bypassMode int

const (
	useCache    bypassMode = iota
	bypassAll              // neither read nor written
	refreshOnly            // not read, but written
)

// bypass reads the bypass header. With BYPASS_TOKEN set it takes "<mode>;<token>" only. The error
// names the values and is the client's to read.
func (p *Proxy) bypass(h http.Header) (bypassMode, error) {
	values := h.Values(p.cfg.BypassHeader)
	if len(values) == 0 {
		return useCache, nil
	}
	takes := "1, true, bypass or refresh"
	value := values[0]
	if token := string(p.cfg.BypassToken); token != "" {
		takes = "<mode>;<token>, where mode is " + takes
		mode, given, _ := strings.Cut(value, ";")
		if !sameSecret(given, token) {
			return useCache, fmt.Errorf("%s takes %s", p.cfg.BypassHeader, takes)
		}
		value = mode
	}
	if len(values) == 1 {
		switch strings.ToLower(strings.TrimSpace(value)) {
		case "1", "true", "bypass":
			return bypassAll, nil
		case "refresh":
			return refreshOnly, nil
		}
	}
	return useCache, fmt.Errorf("%s takes %s", p.cfg.BypassHeader, takes)
}

// sameSecret compares in a time that does not tell how much of it was right.
func sameSecret(given, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(secret)) == 1
}
