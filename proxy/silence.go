package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// clientSilence is for how long a client may send nothing in the middle of a body.
const clientSilence = time.Minute

const (
	shortBody  = "the request body ended before its Content-Length"
	silentBody = "the rest of the request body did not come in time"
)

// boundSilence gives the request with a body that fails when its client falls silent. It bounds neither the body's length
// nor how long it takes, and nothing once the body is whole.
func boundSilence(w http.ResponseWriter, r *http.Request, limit time.Duration) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	// Also where nobody reads: net/http itself looks for the rest of a body before it answers.
	client := http.NewResponseController(w)
	if client.SetReadDeadline(time.Now().Add(limit)) != nil {
		return r // not a connection
	}
	bounded := r.WithContext(r.Context())
	bounded.Body = &clientBody{ReadCloser: r.Body, client: client, limit: limit}
	return bounded
}

// clientBody is a body that its client is still sending. How it ended it tells whoever asks again: net/http says of one
// that was cut short, the second time, that it ended as it should.
type clientBody struct {
	io.ReadCloser
	client *http.ResponseController
	limit  time.Duration
	ended  error
}

func (b *clientBody) Read(buf []byte) (n int, err error) {
	if b.ended != nil {
		return 0, b.ended
	}
	_ = b.client.SetReadDeadline(time.Now().Add(b.limit)) // boundSilence has seen that it works
	n, b.ended = b.ReadCloser.Read(buf)
	if b.ended == io.EOF {
		// From here on net/http reads only to notice that the client leaves.
		_ = b.client.SetReadDeadline(time.Time{})
	}
	return n, b.ended
}

// writeBodyError answers a request whose body could not be read.
func writeBodyError(w http.ResponseWriter, err error) {
	status, message := http.StatusBadRequest, "the request body can't be read" // the client has left, or its chunks are malformed
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		message = shortBody
	case errors.Is(err, os.ErrDeadlineExceeded):
		status, message = http.StatusRequestTimeout, silentBody
		w.Header().Set("Connection", "close")
	}
	writeError(w, status, message)
}
