package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxUnread bounds what is taken in, in bytes, of a body that the server's body parser skips.
const maxUnread = 1 << 20

var errGivenUp = errors.New("the request was given up before its body was whole")

// A writing is a request on its way that may change what answers depend on. It counts from when the server is about
// to have all of its body: before that no handler has run, so nothing is in doubt, however long the client takes.
type writing struct {
	// begin announces the write; the function that it gives, how it ended: with which status (0: none came), and
	// whether the server is done with it.
	begin func() (end func(status int, certain bool))

	mu       sync.Mutex
	end      func(status int, certain bool) // once begun
	answered bool
	givenUp  bool
}

// whole is called when the server is about to have all of the body. An error says that it must not get it any more.
func (w *writing) whole() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.givenUp:
		return errGivenUp
	case !w.answered && w.end == nil:
		w.end = w.begin()
	}
	return nil
}

// answer is called when the server's answer is here, before the client gets any of it. One that came before the body
// was whole is a refusal, or that of a handler that did not wait for it.
func (w *writing) answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answered || w.givenUp {
		return
	}
	w.answered = true
	if w.end == nil {
		if notTaken(status) {
			return
		}
		w.end = w.begin()
	}
	w.end(status, true)
}

// giveUp is called when there will be no answer, or when there was one. Without one the server may be at it yet, if it
// has all of the body.
func (w *writing) giveUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answered || w.givenUp {
		return
	}
	w.givenUp = true
	if w.end != nil {
		w.end(0, false)
	}
}

// notTaken reports whether a status says that the server did nothing: it did not understand the request, did not let
// the caller, or found nothing to do it to. A failure (5xx) may have had its effect.
func notTaken(status int) bool { return status/100 == 4 }

// hold gives the request such that w knows when the server is about to have all of its body. A body that the server's
// parser skips is no reason for a handler to wait: it is taken in first. It reports false when that failed, and was
// answered.
func (w *writing) hold(rw http.ResponseWriter, r *http.Request) (held *http.Request, ok bool) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return r, w.whole() == nil
	}
	held = r.WithContext(r.Context())
	if takesBody(endToEnd(r.Header)) {
		held.Body = &heldBody{ReadCloser: r.Body, left: r.ContentLength, whole: w.whole}
		return held, true
	}
	read, err := io.ReadAll(io.LimitReader(r.Body, maxUnread+1))
	if err != nil {
		writeBodyError(rw, err)
		return nil, false
	}
	held.Body = readAgain(read, r.Body)
	return held, w.whole() == nil
}

// readAgain is a body of which something was read already.
func readAgain(read []byte, rest io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), rest), rest}
}

// heldBody calls whole before it hands on the last bytes of a body, or the end of one whose length was not announced.
type heldBody struct {
	io.ReadCloser
	left  int64 // negative: not known
	whole func() error
}

func (b *heldBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if err == io.EOF && b.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	if n > 0 && b.left == 0 || err == io.EOF {
		if err := b.whole(); err != nil {
			return 0, err
		}
	}
	return n, err
}
