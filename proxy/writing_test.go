package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"warmfront/proxy/board"
)

// over serves p over sockets and gives one to it.
func over(t *testing.T, p *Proxy, sent string) net.Conn {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	return c
}

// A write counts from when the server is about to have all of its body. What came before that is told by order, not by time.
func TestWriteCountsFromWhenItsBodyIsWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		length int64 // as announced
		header string
		body   string
		order  string
	}{
		{"as long as announced", 4, "application/json", "abcd", "ab begin cd end"},
		{"as long as announced, and read in one go", 2, "application/json", "ab", "begin ab end"},
		{"without a length", -1, "application/json", "abcd", "ab begin cd end"},
		{"in another charset", 4, "application/json; charset=utf-16", "abcd", "ab begin cd end"},
		{"not read by the server's parser", 4, "text/plain", "abcd", "begin ab cd end"},
		{"shorter than announced", 6, "application/json", "abcd", "ab cd"},
		{"none", 0, "application/json", "", "begin end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var order []string
			w := &writing{begin: func() func(int, bool) {
				order = append(order, "begin")
				return func(int, bool) { order = append(order, "end") }
			}}
			r := httptest.NewRequest("POST", "/api/download", &inPieces{left: c.body})
			r.ContentLength = c.length
			r.Header.Set("Content-Type", c.header)
			held, ok := w.hold(httptest.NewRecorder(), r)
			if !ok {
				t.Fatal("not held")
			}
			for buf := make([]byte, 2); c.length != 0; {
				n, err := held.Body.Read(buf)
				if n > 0 {
					order = append(order, string(buf[:n]))
				}
				if err != nil {
					break
				}
			}
			if w.end != nil {
				w.answer(http.StatusOK)
			}
			if got := strings.Join(order, " "); got != c.order {
				t.Errorf("%q, want %q", got, c.order)
			}
		})
	}
}

// inPieces gives two bytes at a time, and the end with the last ones.
type inPieces struct{ left string }

func (p *inPieces) Read(buf []byte) (int, error) {
	n := copy(buf, p.left[:min(2, len(p.left))])
	if p.left = p.left[n:]; p.left == "" {
		return n, io.EOF
	}
	return n, nil
}

func TestWriteEndsAsTheServerTookIt(t *testing.T) {
	type write = *writing
	for name, c := range map[string]struct {
		happens func(write)
		want    string
	}{
		"answered":                            {func(w write) { _ = w.whole(); w.answer(200); w.giveUp() }, "begin 200 true"},
		"refused":                             {func(w write) { _ = w.whole(); w.answer(400); w.giveUp() }, "begin 400 true"},
		"no answer":                           {func(w write) { _ = w.whole(); w.giveUp() }, "begin 0 false"},
		"left before the body was whole":      {func(w write) { w.giveUp(); _ = w.whole() }, ""},
		"refused before the body was whole":   {func(w write) { w.answer(413); _ = w.whole() }, ""},
		"answered before the body was whole":  {func(w write) { w.answer(200); _ = w.whole() }, "begin 200 true"},
		"failed before the body was whole":    {func(w write) { w.answer(500); w.giveUp() }, "begin 500 true"},
		"never whole, and given up":           {func(w write) { w.giveUp() }, ""},
		"whole only once":                     {func(w write) { _ = w.whole(); _ = w.whole(); w.answer(204) }, "begin 204 true"},
		"an answer that comes after all that": {func(w write) { w.giveUp(); w.answer(200) }, ""},
	} {
		said := ""
		w := &writing{begin: func() func(int, bool) {
			said += "begin"
			return func(status int, certain bool) { said += fmt.Sprintf(" %d %v", status, certain) }
		}}
		c.happens(w)
		if said != c.want {
			t.Errorf("%s: %q, want %q", name, said, c.want)
		}
	}
	w := &writing{}
	w.giveUp()
	if w.whole() == nil {
		t.Error("a request that was given up may still be sent in whole, though nobody was told of it")
	}
}

func TestClientThatFallsSilentInItsBodyIsCutOff(t *testing.T) {
	for _, path := range []string{"/api/backtest", "/api/download", "/api/live/orders", "/api/bots/bot-1/run-backtest?odd", "/_warmfront/healthz"} {
		for _, header := range []string{"Content-Length: 10\r\n\r\n{\"a\"", "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n"} {
			p := startProxy(t, &fakeServer{}, nil)
			p.clientSilence = 100 * time.Millisecond
			sent := "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + header
			c := over(t, p, sent)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%q: no answer: %v", sent, err)
			}
			if own := strings.HasPrefix(path, ownPrefix); !own && res.StatusCode != http.StatusRequestTimeout || !res.Close {
				t.Errorf("%q: status %d, close %v; want 408 and the connection closed", sent, res.StatusCode, res.Close)
			}
			if p.board.Writing(board.Data, "") || p.board.Writing(board.Bot, "") || p.board.Writing(board.Metrics, "bot-1") {
				t.Errorf("%q: something is in doubt, though the server never had the request", sent)
			}
		}
	}
}

// What it was that the server had in whole, its answer tells, though nobody waits for that any more.
func TestClientThatLeavesDoesNotPutInDoubtWhatTheServerRefuses(t *testing.T) {
	s := &fakeServer{refuses: http.StatusUnauthorized}
	p := startProxy(t, s, nil)
	s.mu.Lock() // the server is busy
	ctx, leave := context.WithCancel(t.Context())
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/api/admin/sync-schedule/run-now", strings.NewReader(`{}`)))
	}()
	soon(t, "the write is under way", func() bool { return p.board.Writing(board.Data, "") })
	leave()
	s.mu.Unlock()
	<-passed
	if now, sure := p.data.Current(); !sure || now.Provisional {
		t.Errorf("after a refusal that nobody waited for: sure %v, provisional %v; want all as before", sure, now.Provisional)
	}
}

func TestWriteWithoutAnAnswerEndsSomeTimeAfterItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		r, over := outlive(httptest.NewRequestWithContext(ctx, "POST", "/", nil), time.Minute)
		defer over()
		time.Sleep(time.Hour)
		if r.Context().Err() != nil {
			t.Fatal("ended while its client waits")
		}
		leave()
		began := time.Now()
		<-r.Context().Done()
		if took := time.Since(began); took != time.Minute || !errors.Is(context.Cause(r.Context()), errUpstreamTimeout) {
			t.Errorf("ended %v after its client, for %v; want a minute and a timeout", took, context.Cause(r.Context()))
		}
	})
}

// Slow is not silent, and an answer may take its time.
func TestClientThatGoesOnSendingIsNotCutOff(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	p.clientSilence = 300 * time.Millisecond
	s.backtest = func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2 * p.clientSilence) // the server computes
		_, _ = w.Write(backtestAnswer("2026-01-14", 1))
	}
	c := over(t, p, "POST /api/bots/bot-1/run-backtest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n")
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for _, piece := range []string{`{"co`, `stBp`, `s":`, `6}`}[:3] {
		time.Sleep(p.clientSilence / 3)
		_, _ = io.WriteString(c, piece)
	}
	_, _ = io.WriteString(c, "6}")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("answer %v, error %v; want 200", res, err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the answer broke off: %v", err)
	}
}

func TestClearingNamesTheBotThatTheServerReads(t *testing.T) {
	for _, c := range []struct {
		body, contentType string
		want              cleared
	}{
		{"", "", cleared{all: true}}, {`{}`, "application/json", cleared{all: true}}, {`{"botId":"x"}`, "application/json", cleared{bot: "x"}},
		{`{"botId":"\u0078"}`, "application/json", cleared{bot: "x"}}, {`{"botid":"x"}`, "application/json", cleared{all: true}},
		{`{"BotId":"y","botId":"x"}`, "application/json", cleared{bot: "x"}}, {`{"botId":"x","botId":"y"}`, "application/json", cleared{}},
		{`{"botId":""}`, "application/json", cleared{all: true}}, {`{"botId":null}`, "application/json", cleared{all: true}},
		{`{"botId":false}`, "application/json", cleared{all: true}}, {`{"botId":7}`, "application/json", cleared{}}, {`{"botId":["x"]}`, "application/json", cleared{}},
		{`{"botId":"x"}`, "application/json;", cleared{}}, {`{"botId":"x"}`, "text/plain", cleared{}}, {`{"botId":"x"`, "application/json", cleared{}},
		{`["botId"]`, "application/json", cleared{}}, {`{"a":"` + strings.Repeat("a", maxNaming) + `","botId":"x"}`, "application/json", cleared{}},
	} {
		r := httptest.NewRequest("POST", "/api/admin/cache/invalidate", strings.NewReader(c.body))
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		if got := namedBot(r); got != c.want {
			t.Errorf("%.80s as %q: %+v, want %+v", c.body, c.contentType, got, c.want)
		}
		if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != c.body {
			t.Errorf("%.80s: left to be read is %.80q (%v)", c.body, rest, err)
		}
	}
}

// What the server refuses it has not done: no generation begins, nothing becomes provisional, no row is doubted.
func TestRefusedWriteChangesNothing(t *testing.T) {
	s := &fakeServer{}
	p := startProxy(t, s, nil)
	expect(t, run(p, `{}`, nil), "MISS")
	before, _ := p.data.Current()
	for _, path := range []string{"/api/download", "/api/admin/cache/invalidate", "/api/admin/cache/refresh", "/api/admin/sync-schedule/run-now", "/api/admin/sync-schedule/kill"} {
		for _, status := range []int{400, 401, 403, 404, 409, 413, 415, 422, 429} {
			s.mu.Lock()
			s.refuses = status
			s.mu.Unlock()
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(`{`)))
			if w.Code != status {
				t.Fatalf("%s: status %d, want the server's %d", path, w.Code, status)
			}
			if now, sure := p.data.Current(); !sure || now.Provisional || now.Generation() != before.Generation() {
				t.Fatalf("%s answered %d: sure %v, provisional %v, generation %s; want all as before, %s", path, status, sure, now.Provisional, now.Generation(), before.Generation())
			}
			expect(t, run(p, `{}`, nil), "HIT")
		}
	}
	s.mu.Lock()
	s.refuses = 500
	s.mu.Unlock()
	p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/api/download", strings.NewReader(`{}`)))
	if now, _ := p.data.Current(); !now.Provisional {
		t.Error("a download that failed at the server may have begun: it must count as a sync")
	}
}
