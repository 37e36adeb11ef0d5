package proxy

import (
	"net/http"
	"slices"
	"strings"

	"warmfront/keying/rule"
)

// hopByHop are the fields that concern one connection only, besides those that Connection names (RFC 9110,
// section 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// dropHopByHop removes what concerns one connection only.
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// endToEnd gives the fields of a request that the server gets to see. Whatever is concluded from a request (what its
// body means, which Origin asks, who it is) is concluded from these: a field that Connection names never reaches the
// server (contract, trap 25). Where nothing is to be dropped it is h itself, so nobody may change it.
func endToEnd(h http.Header) http.Header {
	if !slices.ContainsFunc(hopByHop, func(name string) bool { return len(h[name]) > 0 }) {
		return h
	}
	kept := h.Clone()
	dropHopByHop(kept)
	return kept
}

// showsOrigin finds the one Origin that the request shows to the server, "" for none. It reports false when it shows
// several, or an empty one: what the server makes of these is not known.
func (a *ask) showsOrigin() bool {
	values := a.sent["Origin"]
	if rule.Off(rule.OriginShown) {
		values = a.in.Header["Origin"]
	}
	if len(values) > 0 {
		a.origin = values[0]
	}
	return len(values) == 0 || len(values) == 1 && a.origin != "" || rule.Off(rule.OriginShown)
}

// readsBody reports whether the server's body parser reads a body with these fields as JSON in UTF-8. With others it
// answers 415, or skips the body and has the handler see an empty one.
func readsBody(sent http.Header) bool {
	if rule.Off(rule.ContentTypeSent) {
		return strings.HasPrefix(sent.Get("Content-Type"), "application/json")
	}
	types, codings := sent["Content-Type"], sent["Content-Encoding"]
	if len(types) != 1 || len(codings) > 1 || len(codings) == 1 && codings[0] != "" && !strings.EqualFold(codings[0], "identity") {
		return false
	}
	charset, ok := jsonType(types[0])
	return ok && strings.EqualFold(charset, "utf-8")
}

// takesBody reports whether the server's body parser takes a body with these fields: then no handler runs before the
// body is whole, in whatever charset and coding it is. Those that it does not know it refuses, with 415. Of several
// types Node reads the first.
func takesBody(sent http.Header) bool {
	types := sent["Content-Type"]
	if len(types) == 0 {
		return false
	}
	_, ok := jsonType(types[0])
	return ok
}

// jsonType reports whether value is application/json to the parsers of media types that Express uses (media-typer and
// content-type), and in which charset. They take spaces where RFC 9110 has them, but neither a TAB nor an empty parameter.
// With several charsets it gives one that is not UTF-8, if there is one.
func jsonType(value string) (charset string, ok bool) {
	media, rest, hasParameters := strings.Cut(value, ";")
	if strings.ToLower(strings.Trim(media, " ")) != "application/json" { // EqualFold takes ſ for s
		return "", false
	}
	charset = "utf-8"
	for hasParameters {
		var name, given string
		if name, given, rest, ok = cutParameter(rest); !ok || rest != "" && rest[0] != ';' {
			return "", false
		}
		if strings.EqualFold(name, "charset") && strings.EqualFold(charset, "utf-8") {
			charset = given
		}
		if rest == "" {
			break
		}
		rest = rest[1:]
	}
	return charset, true
}

// cutParameter takes a parameter of a media type off s, which begins after its semicolon: *SP token *SP "=" *SP
// ( token / quoted-string ) *SP.
func cutParameter(s string) (name, value, rest string, ok bool) {
	name, s = cutToken(strings.TrimLeft(s, " "))
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " "), "=")
	if !ok || name == "" {
		return "", "", "", false
	}
	s = strings.TrimLeft(s, " ")
	if !strings.HasPrefix(s, `"`) {
		value, s = cutToken(s)
		return name, value, strings.TrimLeft(s, " "), value != ""
	}
	var unquoted strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return name, unquoted.String(), strings.TrimLeft(s[i+1:], " "), true
		case c < ' ' || c == 0x7f:
			return "", "", "", false
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return "", "", "", false
			}
			unquoted.WriteByte(s[i])
		default:
			unquoted.WriteByte(c)
		}
	}
	return "", "", "", false
}

// cutToken takes a token (RFC 9110, section 5.6.2) off s.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && (alphanumeric(s[i]) || strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) >= 0) {
		i++
	}
	return s[:i], s[i:]
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
