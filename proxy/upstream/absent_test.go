package upstream

import (
	"context"
	"net/http"
	"testing"
	"time"
)

func TestOnlyTheServersOwnWordToNobodyInParticularMakesABotAbsent(t *testing.T) {
	for _, c := range []struct {
		what, body  string
		status      int
		credentials http.Header
		absent      bool
	}{
		{"the server's error", `{"error":"Bot not found"}`, 404, nil, true},
		{"a gateway's page", `<html>404`, 404, nil, false},
		{"another's JSON", `{"message":"no route"}`, 404, nil, false},
		{"a name in another case", `{"Error":"Bot not found"}`, 404, nil, false},
		{"a caller with credentials", `{"error":"Bot not found"}`, 404, http.Header{"Authorization": {"Bearer x"}}, false},
		{"one that is not shown", `{"error":"Authentication required"}`, 401, nil, false},
		{"a server in trouble", `{"error":"x"}`, 500, nil, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			client, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			})
			bots := Bots{IDs: []string{"b"}, Absent: true, Credentials: c.credentials}
			revs, sure, err := NewRevisions(client, time.Hour, time.Hour, alone()).Of(context.Background(), bots)
			if absent := err == nil && sure && revs[0].Absent(); absent != c.absent {
				t.Errorf("status %d, %s: absent %v, want %v (%v)", c.status, c.body, absent, c.absent, err)
			}
		})
	}
}
