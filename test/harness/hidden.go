package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Restart makes the server forget what a restart makes it forget, and cuts who is connected.
func (u *Upstream) Restart() error { return u.lever(http.MethodPost, "restart", struct{}{}) }

// SyncTorn is Sync with each file half-written for tornMS.
func (u *Upstream) SyncTorn(mode string, durationMS, tornMS int) error {
	return u.lever(http.MethodPost, "sync", map[string]any{"mode": mode, "durationMs": durationMS, "tornMs": tornMS})
}

// Fresh gives the answer to a request as the server would compute it from its files, without anything that it
// keeps.
func (u *Upstream) Fresh(ctx context.Context, r Request) ([]byte, error) {
	ask := map[string]any{"method": r.Method, "path": r.URL}
	if len(r.Body) > 0 {
		ask["body"] = json.RawMessage(r.Body)
	}
	b, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.URL+"/__test/fresh", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := controlClient().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the stand-in's fresh answer: %d %s", res.StatusCode, said)
	}
	return said, err
}
