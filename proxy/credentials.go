package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// credentialNames knows which fields of a request tell who asks: those that are named here or look like it, and those of
// CREDENTIAL_HEADERS. A field too many costs a hit where answers belong to somebody; one too few gives an answer away.
type credentialNames map[string]bool

func newCredentialNames(configured []string) credentialNames {
	n := credentialNames{}
	for _, name := range configured {
		n[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
	}
	return n
}

// A caller is who asks, by what the server gets to see of it. Its address is not part of it.
type caller struct {
	fields http.Header // nil for none
	query  []string    // parameters, as written, in the order of their names
}

// anonymous reports whether the caller shows no credential.
func (c caller) anonymous() bool { return len(c.fields) == 0 && len(c.query) == 0 }

// of gives the caller of a request with these end-to-end fields (endToEnd) and this query.
func (n credentialNames) of(sent http.Header, rawQuery string) (c caller) {
	for name, values := range sent {
		if len(values) > 0 && (n[name] || looksLikeCredential(name)) {
			if c.fields == nil {
				c.fields = http.Header{}
			}
			c.fields[name] = values
		}
	}
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name == "" {
			continue
		}
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if looksLikeCredential(name) {
			c.query = append(c.query, pair)
		}
	}
	slices.Sort(c.query)
	return c
}

// looksLikeCredential goes by the words of a name, however they are joined: Authorization, Cookie, X-Api-Key, api_key,
// accessKey, X-Auth-Token, X-Forwarded-User, X-Forwarded-Email, Cf-Access-Jwt-Assertion and their like.
func looksLikeCredential(name string) bool {
	name = http.CanonicalHeaderKey(strings.ReplaceAll(strings.ReplaceAll(name, "_", "-"), ".", "-"))
	switch name {
	case "Cookie", "Cookie2":
		return true
	case "User-Agent", "Idempotency-Key", "X-Idempotency-Key":
		return false
	}
	if strings.HasPrefix(name, "Sec-") { // the browser's own
		return false
	}
	for word := range strings.SplitSeq(name, "-") {
		switch word {
		case "Authorization", "Auth", "Authentication", "Authenticated", "Bearer", "Token", "Key", "Apikey", "Jwt", "Session", "Sessionid", "Sid",
			"Secret", "Credential", "Credentials", "Password", "Passwd", "Signature", "Sig", "Cert", "User", "Userid", "Username", "Account", "Tenant",
			"Email", "Identity", "Oidc", "Principal", "Dn":
			return true
		}
		for _, end := range []string{"token", "apikey", "accesskey", "authkey", "secretkey", "secret"} {
			if strings.HasSuffix(strings.ToLower(word), end) {
				return true
			}
		}
	}
	return false
}
