// Package store keeps answers: an Entry is one complete answer of the server in the form it is
// sent in, Memory keeps entries by their bytes, and Redis shares them between replicas.
package store

import (
	"net/http"
	"sort"
	"strconv"
	"time"
)

// overhead is what an entry costs besides its body, header and key: the structs, the map cell and
// the admission counters, rounded up.
const overhead = 512

// Entry is a stored answer. It is immutable once Prepare has run: it is shared by every request
// that hits it.
type Entry struct {
	// Key is the full key. Every tier compares it: tiers hash keys, and hashes can collide.
	Key string
	// Status is the HTTP status, always 200 in what is stored.
	Status int
	// Header holds the end-to-end header fields as the server sent them, less what depends on the
	// request or the connection (Access-Control-*, Vary, Content-Length, Content-Encoding, ETag).
	Header http.Header
	// Body is the body as stored, gzip-compressed when Gzip is set.
	Body []byte
	Gzip bool
	// Length is the size of the decoded body in bytes.
	Length int
	// Digest is the hex SHA-256 (first 128 bits) of the decoded body: the strong ETag's text.
	Digest string
	// StoredAt is when the answer was complete.
	StoredAt time.Time
	// Fresh is for how long it may be served as a hit, Stale for how much longer it may be served
	// while the server is down (RFC 5861, section 4).
	Fresh, Stale time.Duration
	// Provisional names why the entry is kept for a short time only; empty for most.
	Provisional string
	// Open: the answer was fetched without credentials, and serves everyone for as long as this is the stamp of the
	// route's access. Empty: it serves whom the server lets have it.
	Open string
	// Spelling tells which of the requests that share the key filled the entry: a hash of its exact
	// spelling. Empty when it is not known.
	Spelling string

	fields  []field
	lengths [2][]string
	etags   [2][]string
}

// field is a header field whose values are shared by all answers: net/http only reads them.
type field struct {
	name   string
	values []string
}

// Prepare builds what every answer from this entry shares, so that a hit copies nothing.
func (e *Entry) Prepare() *Entry {
	e.fields = make([]field, 0, len(e.Header))
	for name, values := range e.Header {
		e.fields = append(e.fields, field{name, values})
	}
	sort.Slice(e.fields, func(i, j int) bool { return e.fields[i].name < e.fields[j].name })
	e.lengths = [2][]string{{strconv.Itoa(e.Length)}, {strconv.Itoa(len(e.Body))}}
	e.etags = [2][]string{{`"` + e.Digest + `"`}, {`"` + e.Digest + `-gzip"`}}
	return e
}

// CopyHeader adds the stored header fields to h, with the length and the strong ETag of the form
// that is about to be sent (RFC 9110, section 8.8.3.3: each content coding has an ETag of its own).
func (e *Entry) CopyHeader(h http.Header, compressed bool) {
	for i := range e.fields {
		h[e.fields[i].name] = e.fields[i].values
	}
	form := 0
	if compressed {
		form = 1
	}
	h["Content-Length"] = e.lengths[form]
	h["Etag"] = e.etags[form]
}

// IsFresh reports whether the entry may be served as a hit at now.
func (e *Entry) IsFresh(now time.Time) bool { return now.Sub(e.StoredAt) < e.Fresh }

// IsUsableStale reports whether the entry may be served at now while the server is down.
func (e *Entry) IsUsableStale(now time.Time) bool { return now.Sub(e.StoredAt) < e.Fresh+e.Stale }

// Age is the time since the answer was complete, never negative (RFC 9111, section 4.2.3).
func (e *Entry) Age(now time.Time) time.Duration { return max(0, now.Sub(e.StoredAt)) }

// TTL is how much longer the entry is fresh; negative once it is stale.
func (e *Entry) TTL(now time.Time) time.Duration { return e.Fresh - now.Sub(e.StoredAt) }

// Cost is what the entry takes of MEMORY_LIMIT, in bytes.
func (e *Entry) Cost() int64 {
	n := overhead + len(e.Key) + cap(e.Body) + len(e.Digest)*3
	for name, values := range e.Header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return int64(n)
}
