package test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"warmfront/test/harness"
)

// hitsGoOn fails unless the saved bot's run, which is stored, is a hit on each of the servers.
func hitsGoOn(t *testing.T, after string, servers ...*harness.Server) {
	t.Helper()
	for _, w := range servers {
		_, ready, err := harness.Ready(w.URL)
		ok(t, err)
		if a := post(t, w.URL+runPath, `{}`); a.Header.Get("X-Cache") != "HIT" || ready.Provisional {
			t.Errorf("%s: %s, provisional %v; want a hit as before", after, a.Header.Get("Cache-Status"), ready.Provisional)
		}
	}
}

// Anybody can send these, and the server runs no handler for them.
func TestRequestThatNodeItselfTurnsAwaySwitchesNothingOff(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for _, c := range []struct {
		sent   string
		status int
	}{
		{"CONNECT /api/download HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusBadGateway}, // Node closes the connection
		{"CONNECT /api/admin/cache/invalidate HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusBadGateway},
		{"CONNECT /api/bots/bot-7 HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusBadGateway},
		{"NONE /api/download HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", http.StatusBadRequest},
		{"POST /api/download HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-Long: " + strings.Repeat("a", 20_000) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
	} {
		conn := dial(t, w.URL)
		_, err := fmt.Fprint(conn, c.sent)
		ok(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		ok(t, err)
		if res.StatusCode != c.status {
			t.Errorf("%.60q: status %d, want %d", c.sent, res.StatusCode, c.status)
		}
		hitsGoOn(t, fmt.Sprintf("after %.60q", c.sent), w)
	}
}

// The server's parser takes these bodies in, however they are coded: no handler runs before they are whole.
func TestStalledBodyInAnotherCodingSwitchesNothingOff(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	env := harness.Env{"REDIS_URL": r.URL()}
	one, two := warmfront(t, up.URL, env), warmfront(t, up.URL, env)
	for _, w := range []*harness.Server{one, two} {
		post(t, w.URL+runPath, `{}`)
	}
	const most = 1<<20 + 1<<16 // more than is taken in of a body that no parser takes
	for _, header := range []string{
		"Content-Type: application/json\r\nContent-Encoding: gzip", "Content-Type: application/json; charset=utf-16",
		"Content-Type: application/json\r\nContent-Type: text/plain", "Content-Type: application/json; a=\"\xe9\"",
	} {
		conn := dial(t, one.URL)
		// A gzip stream that goes on: its header, and a name that does not end.
		_, err := fmt.Fprintf(conn, "POST /api/download HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03%s",
			header, most+100, strings.Repeat("a", most))
		ok(t, err)
		hitsGoOn(t, fmt.Sprintf("while %q is stalled", header), one, two)
	}
}

// Tickers in use are looked at regularly, with a target that Node takes.
func TestTickerAsLongAsABodySwitchesNothingOff(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, harness.Env{"DATA_DATE_INTERVAL": "200ms"})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	post(t, w.URL+"/api/candles/batch", `{"tickers":["`+strings.Repeat("A", 8<<20)+`"]}`)
	looked := func() int {
		counts, err := up.Counts()
		ok(t, err)
		return counts.Routes["GET /api/candles/:ticker"]
	}
	for before := looked(); looked() < before+20 && !t.Failed(); {
		hitsGoOn(t, "after a batch of one long ticker", w)
	}
}

// Node closes the connection over a head that is too long; the answer that says so must not get lost.
func TestHeadThatIsTooLongForNodeSwitchesNothingOff(t *testing.T) {
	t.Parallel()
	up, r := upstream(t), redisServer(t)
	w := warmfront(t, up.URL, harness.Env{"REDIS_URL": r.URL()})
	expect(t, post(t, w.URL+runPath, `{}`), 200, "X-Cache: MISS")
	for i := 0; i < 150 && !t.Failed(); i++ {
		length := []int{20_000, 34_000, 70_000, 900_000}[i%4]
		conn := dial(t, w.URL)
		// All of it need not be read, nor its answer arrive.
		_, _ = fmt.Fprint(conn, "POST /api/download HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-Long: "+strings.Repeat("a", length)+"\r\n\r\n")
		_, _ = http.ReadResponse(bufio.NewReader(conn), nil)
		_ = conn.Close()
		hitsGoOn(t, fmt.Sprintf("after a head of %d bytes", length), w)
	}
}
