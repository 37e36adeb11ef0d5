package proxy

import (
	"net/http"
	"strings"

	"warmfront/keying"
)

// tapped keeps the beginning of an answer on its way.
type tapped struct {
	http.ResponseWriter
	status   int
	body     []byte
	onStatus func(int) // called before the status is sent on; nil for none
	going    *passing
}

// maxTapped bounds what is kept of an answer, in bytes.
const maxTapped = 64 << 10

func (t *tapped) WriteHeader(status int) {
	if t.status == 0 && status >= http.StatusOK {
		t.status = status
		if t.onStatus != nil {
			t.onStatus(status)
		}
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tapped) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	t.body = append(t.body, b[:min(len(b), maxTapped-len(t.body))]...)
	return t.ResponseWriter.Write(b)
}

// failed reports whether the answer is ours, for a server that gave none.
func (t *tapped) failed() bool { return t.going != nil && t.going.failed }

// Unwrap lets http.ResponseController flush.
func (t *tapped) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// job is the id of the download job that an answer names; "" for none.
func (t *tapped) job() string {
	var started struct {
		JobID string `json:"jobId"`
	}
	body := t.body
	if strings.EqualFold(t.Header().Get("Content-Encoding"), "gzip") {
		plain, err := gunzip(body, maxTapped)
		if err != nil {
			return ""
		}
		body = plain
	}
	if keying.ReadJSON(body, &started) != nil || len(started.JobID) > 200 {
		return ""
	}
	return started.JobID
}
