package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// freshness is what the server says about how long a shared cache may serve its answer (RFC 9111, section 4.2).
type freshness struct {
	private bool          // the caller's own
	refused bool          // not to be stored, or to be asked about each time, which is the same here
	limited bool          // fresh is given
	fresh   time.Duration // from now
	strict  bool          // it must not be served stale
}

// freshnessOf reads Cache-Control, Expires, Age and Pragma of an answer that came now. What can't be read, or is said in
// two ways, counts as the shortest.
func freshnessOf(h http.Header, now time.Time) (f freshness) {
	controls := append(slices.Clip(h["Cache-Control"]), h["Cdn-Cache-Control"]...)
	given := func(d time.Duration) {
		if !f.limited || d < f.fresh {
			f.limited, f.fresh = true, d
		}
	}
	for _, line := range controls {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "private":
				f.private, f.refused = true, true
			case "no-store", "no-cache":
				f.refused = true
			case "must-revalidate", "proxy-revalidate":
				f.strict = true
			case "s-maxage":
				f.strict = true // section 5.2.2.10
				given(seconds(value))
			case "max-age":
				given(seconds(value))
			}
		}
	}
	if !f.limited && len(h["Expires"]) > 0 { // otherwise it doesn't count: section 5.3
		given(untilExpires(h, now))
	}
	if len(controls) == 0 && slices.ContainsFunc(h["Pragma"], func(line string) bool { return strings.Contains(strings.ToLower(line), "no-cache") }) {
		f.refused = true
	}
	if f.limited && len(h["Age"]) > 0 { // it has been in another cache
		f.fresh -= seconds(slices.Max(h["Age"]))
	}
	if f.limited && f.fresh <= 0 {
		f.refused = true
	}
	return f
}

// maxSeconds is taken for more than it (RFC 9111, section 1.2.2), and leaves room for sums.
const maxSeconds = 1 << 31

// seconds reads delta-seconds; 0 when they are none.
func seconds(value string) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, maxSeconds)) * time.Second
}

// untilExpires is the time from the answer's own date to its Expires; 0 when one can't be read.
func untilExpires(h http.Header, now time.Time) time.Duration {
	expires, err := http.ParseTime(h.Get("Expires"))
	if err != nil || len(h["Expires"]) > 1 {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil && date.After(now) {
		now = date // the server's clock is ahead of ours
	}
	return expires.Sub(now)
}

// variesFor reports whether Vary names a field that answers are not chosen by here: Origin's fields are the asking
// Origin's own, and the coding is negotiated (RFC 9110, section 12.5.5).
func variesFor(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name != "" && name != "origin" && name != "accept-encoding" && !strings.HasPrefix(name, "access-control-request-") {
				return true
			}
		}
	}
	return false
}

// shareable reports whether an answer that is not stored may still serve all who waited for it: if it is the server's
// answer to what the request means, and not to a field of whoever happened to ask. The status tells: what is sent for
// credentials, for too many requests, for a field that is too large, and whatever is not known here is each caller's own.
func shareable(raw *rawAnswer) bool {
	f := freshnessOf(raw.header, time.Now())
	if len(raw.header["Set-Cookie"]) > 0 || variesFor(raw.header) || f.private {
		return false
	}
	switch raw.status {
	case http.StatusOK:
		return !f.refused
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return !f.refused && isJSON(raw.header) // the route's own; those of parsers are HTML
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true // whoever waited would only make the server fail once more
	}
	return false
}
