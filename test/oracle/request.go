package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"warmfront/test/harness"
)

// request is the operation as it is sent: with fresh ids, and with the payload that is saved if only
// tags change.
func (r *run) request(op Op) (harness.Request, error) {
	req := harness.Request{Method: op.Method, URL: r.world.url(op.Replica) + op.Path, Header: []string{"Accept-Encoding: gzip"}}
	if op.Header != "" {
		req.Header = append(req.Header, strings.Split(op.Header, "\n")...)
	}
	if op.Admin || strings.HasPrefix(op.Path, "/api/admin/") || op.Path == "/api/download" {
		req.Header = append(req.Header, "Authorization: Bearer "+r.world.token)
	}
	if op.Raw != "" {
		req.Body = []byte(op.Raw)
		return req, nil
	}
	body := maps.Clone(op.Body)
	if op.Strategy != nil {
		body["payload"] = payload(*op.Strategy)
	}
	if op.Kind == "tag" {
		saved, err := r.saved(op.Path)
		if err != nil {
			return req, err
		}
		body["payload"] = saved
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return req, err
		}
		req.Body = b
	}
	return req, nil
}

// saved is the bot's payload with other ids.
func (r *run) saved(path string) (string, error) {
	var shown struct{ Bot struct{ Payload string } }
	if err := r.world.send(http.MethodGet, path+"?userId="+owner, nil, &shown); err != nil || shown.Bot.Payload == "" {
		return payload(0), nil // the bot is deleted at the moment
	}
	return withOtherIDs(shown.Bot.Payload), nil
}

// stalled begins a request, is silent in the middle of its body for a while, and leaves.
func (r *run) stalled(ctx context.Context, op Op) error {
	address := strings.TrimPrefix(r.world.url(op.Replica), "http://")
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil // it is being restarted
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n%s",
		op.Method, op.Path, r.world.token, op.Raw)
	return r.pause(ctx, time.Duration(op.TookMS)*time.Millisecond)
}
