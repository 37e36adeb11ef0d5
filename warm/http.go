package warm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// ServeHTTP answers GET, POST and DELETE of /_warmfront/warm. Who asks is an admin already.
func (l *Loop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost, http.MethodDelete:
		if !l.o.Enabled {
			reply(w, http.StatusConflict, map[string]string{"error": "the warm loop is off: WARM is false"})
			return
		}
		status = http.StatusAccepted
		err = l.command(r)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		reply(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET, POST or DELETE"})
		return
	}
	v, lookErr := l.lookNow(r.Context())
	if err = errors.Join(err, lookErr); err != nil && r.Method != http.MethodGet {
		reply(w, http.StatusServiceUnavailable, map[string]string{"error": "Redis does not answer, so other replicas can't be told"})
		return
	}
	l.ownRun(&v)
	reply(w, status, v.progress(time.Now()))
}

// command starts or stops, on whichever replica it will be.
func (l *Loop) command(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), ledgerPatience)
	defer cancel()
	if r.Method == http.MethodDelete {
		return l.ledger.halt(ctx)
	}
	if err := l.ledger.want(ctx); err != nil {
		return err
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
	return nil
}

// lookNow reads the ledger for one request; the last look serves when it can't be read.
func (l *Loop) lookNow(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	v, err := l.ledger.look(ctx, "")
	if seen := l.seen.Load(); err != nil && seen != nil {
		v = *seen
	}
	return v, err
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
