package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"warmfront/keying"
)

// tokenLife is how long a token is used; the server's are good for 15 minutes.
const tokenLife = 12 * time.Minute

// ErrLogin means that the server refuses the login.
var ErrLogin = fmt.Errorf("%w: the login is refused", ErrStatus)

// Admin asks the server with an administrator's credentials: a login, or a fixed Authorization value.
// Without either it asks nothing. The credentials are neither logged nor sent anywhere else.
type Admin struct {
	client          *Client
	email, password string
	fixed           string

	state atomic.Value // what the server made of the credentials last: a string

	mu      sync.Mutex
	token   string
	refresh string
	until   time.Time
}

// What the server makes of the credentials.
const (
	AdminNone    = "none" // there are none
	AdminUnknown = "unknown"
	AdminOK      = "ok"
	AdminRefused = "refused"
	AdminNot     = "not an admin"
)

// State says what the server made of the credentials when it was last asked for what only an admin may have.
func (a *Admin) State() string {
	if !a.Configured() {
		return AdminNone
	}
	if state, ok := a.state.Load().(string); ok {
		return state
	}
	return AdminUnknown
}

// note notes how the server answered.
func (a *Admin) note(path string, status int, err error) {
	switch {
	case errors.Is(err, ErrLogin):
		a.state.Store(AdminRefused)
	case err != nil || !strings.HasPrefix(path, "/api/admin/"):
	case status == http.StatusUnauthorized:
		a.state.Store(AdminRefused)
	case status == http.StatusForbidden:
		a.state.Store(AdminNot)
	case status/100 == 2:
		a.state.Store(AdminOK)
	}
}

// NewAdmin takes a login or a fixed value; empty texts for none.
func NewAdmin(c *Client, email, password, fixed string) *Admin {
	return &Admin{client: c, email: email, password: password, fixed: fixed}
}

// Configured reports whether there are credentials.
func (a *Admin) Configured() bool { return a.email != "" || a.fixed != "" }

// Ask makes one request and gives the answer of whatever status. A token that the server refuses is
// renewed once. The error wraps ErrDown when there was no answer, ErrStatus when the login is refused.
func (a *Admin) Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	defer func() { a.note(path, status, err) }()
	for try := range 2 {
		authorization, err := a.Authorization(ctx)
		if err != nil {
			return 0, nil, err
		}
		header := http.Header{"Authorization": {authorization}}
		res, answer, err := a.client.send(ctx, method, path, header, body)
		if err != nil {
			return 0, nil, err
		}
		if res.StatusCode != http.StatusUnauthorized || a.fixed != "" || try > 0 {
			return res.StatusCode, answer, nil
		}
		a.forget(authorization)
	}
	panic("unreachable: the second try returns")
}

// Authorization gives the value to send, after a login if need be. Callers wait for each other's.
func (a *Admin) Authorization(ctx context.Context) (string, error) {
	if a.fixed != "" {
		return a.fixed, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Now().Before(a.until) {
		return "Bearer " + a.token, nil
	}
	if a.refresh != "" && a.obtain(ctx, "/api/auth/refresh", map[string]string{"refreshToken": a.refresh}) == nil {
		return "Bearer " + a.token, nil
	}
	if err := a.obtain(ctx, "/api/auth/login", map[string]string{"email": a.email, "password": a.password}); err != nil {
		return "", err
	}
	return "Bearer " + a.token, nil
}

// obtain gets a token. The caller holds mu.
func (a *Admin) obtain(ctx context.Context, path string, what map[string]string) error {
	body, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("spelling a login: %w", err)
	}
	asked := time.Now()
	res, answer, err := a.client.send(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return fmt.Errorf("logging in at the upstream: %w", err)
	}
	var got struct {
		AccessToken  string `json:"accessToken"`
		RefreshToken string `json:"refreshToken"`
	}
	if res.StatusCode != http.StatusOK || keying.ReadJSON(answer, &got) != nil || got.AccessToken == "" {
		a.token, a.refresh = "", ""
		kind := ErrStatus
		if res.StatusCode/100 == 4 && res.StatusCode != http.StatusTooManyRequests {
			kind = ErrLogin
		}
		return fmt.Errorf("%w: status %d at %s; check UPSTREAM_EMAIL and UPSTREAM_PASSWORD", kind, res.StatusCode, path)
	}
	a.token, a.until = got.AccessToken, asked.Add(tokenLife)
	if got.RefreshToken != "" {
		a.refresh = got.RefreshToken
	}
	return nil
}

// forget drops a token that was refused, unless it was renewed meanwhile.
func (a *Admin) forget(authorization string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if authorization == "Bearer "+a.token {
		a.token, a.until = "", time.Time{}
	}
}
