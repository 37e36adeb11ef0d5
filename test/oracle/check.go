package oracle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"warmfront/test/harness"
)

// behindTTL is how long the interface lets an answer be kept that ends before the data does.
const behindTTL = 10 * time.Minute

// longTTL is more than anything provisional is kept for, and less than anything else.
const longTTL = 11 * time.Minute

// question is what the stand-in is asked about an answer: see Oracle.check there.
type question struct {
	Method    string          `json:"method"`
	Path      string          `json:"path"`
	Body      json.RawMessage `json:"body,omitempty"`
	Status    int             `json:"status"`
	SHA       string          `json:"sha"`
	From      int64           `json:"from"`
	To        int64           `json:"to"`
	Late      int64           `json:"late"`
	Grace     int64           `json:"grace"`
	BotLate   int64           `json:"botLate"`
	Away      int64           `json:"away"`
	Admin     bool            `json:"admin"`
	Collapsed bool            `json:"collapsed"`
	Lasting   bool            `json:"lasting"`
	Fresh     bool            `json:"fresh"`
}

type verdict struct {
	OK   bool            `json:"ok"`
	Why  []string        `json:"why"`
	Want json.RawMessage `json:"want"`
}

// Wrong is an answer that the server would not have given.
type Wrong struct {
	Op      Op
	Answer  *harness.Answer
	Asked   question
	Verdict verdict
	Before  string // what happened before
	Tail    string // what the processes printed
}

// sort says in a few words what was wrong.
func (w *Wrong) sort() string {
	return w.Op.Kind + ", " + w.Answer.Header.Get("X-Cache") + ": " + w.reason()
}

func (w *Wrong) reason() string {
	reason, _, _ := strings.Cut(w.Verdict.Why[0], " — ")
	return anyNumber.ReplaceAllString(reason, "#")
}

var anyNumber = regexp.MustCompile(`[0-9a-f]{16}|[0-9]+(\.[0-9]+)?`)

// String tells what was sent, what came, and what would have been right.
func (w *Wrong) String() string {
	a, asked := w.Answer, new(bytes.Buffer)
	if b, err := json.Marshal(w.Asked); err != nil || json.Compact(asked, b) != nil {
		asked.WriteString("?")
	}
	body, _ := a.Body()
	var b strings.Builder
	fmt.Fprintf(&b, "operation %d (%s) was answered wrong\n  sent: %s %s %.200s\n  came after %v: %d", w.Op.N, w.Op.Kind,
		a.Request.Method, a.Request.URL, a.Request.Body, a.Took.Round(time.Millisecond), a.Status)
	for _, name := range []string{"X-Cache", "X-Cache-Tier", "Cache-Status", "Age"} {
		fmt.Fprintf(&b, "; %s: %s", name, a.Header.Get(name))
	}
	fmt.Fprintf(&b, "\n    %.120s\n  it was made of:\n    %s\n  expected something made of:\n    %s\n  judged with:\n    %s\n  before, as seen from its arrival (%d):\n%s",
		body, strings.Join(w.Verdict.Why, "\n    "), indented(w.Verdict.Want), asked, w.Asked.From, w.Before)
	return b.String()
}

// indented is JSON with its outer fields on lines of their own.
func indented(text json.RawMessage) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return string(text)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		lines = append(lines, name+": "+string(fields[name]))
	}
	return strings.Join(lines, "\n    ")
}

// checker asks the stand-in about answers, many at a time, while the operations go on.
type checker struct {
	world   *World
	stop    context.CancelCauseFunc
	before  func(question) string
	survey  bool
	asks    chan pending
	done    chan struct{}
	checked int // read after finish

	mu     sync.Mutex
	wrong  *Wrong
	wrongs map[string]int // by what was wrong
	err    error
}

type pending struct {
	op       Op
	answer   *harness.Answer
	question question
}

func newChecker(world *World, stop context.CancelCauseFunc, before func(question) string, survey bool) *checker {
	c := &checker{world: world, stop: stop, before: before, survey: survey, wrongs: map[string]int{}, asks: make(chan pending, 256), done: make(chan struct{})}
	go c.loop()
	return c
}

// check has an answer checked that came between the two moments.
func (c *checker) check(op Op, a *harness.Answer, before, after time.Time) {
	q, ok := c.question(op, a)
	if !ok {
		return
	}
	q.From, q.To = before.UnixMilli(), after.UnixMilli()
	if c.world.redisWasAway(before) {
		q.Away = behindTTL.Milliseconds()
	}
	c.asks <- pending{op, a, q}
	why := ""
	switch {
	case lacksCORS(op, a):
		why = "no CORS fields for its Origin"
	case op.Refused && a.Status == http.StatusOK:
		why = "the server would have refused this caller"
	}
	if why != "" {
		w := &Wrong{Op: op, Answer: a, Asked: q, Verdict: verdict{Why: []string{why}}, Before: c.before(q)}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.foundLocked(w)
	}
}

// lacksCORS reports whether a hit does not tell the asking Origin that it may read it, as the server would.
func lacksCORS(op Op, a *harness.Answer) bool {
	return strings.HasPrefix(op.Header, "Origin: ") && !strings.Contains(op.Header, "\nConnection:") && a.Header.Get("X-Cache") == "HIT" &&
		a.Header.Get("Access-Control-Allow-Origin") == ""
}

// question is what there is to ask about an answer; ok is false when nothing is.
func (c *checker) question(op Op, a *harness.Answer) (q question, ok bool) {
	how, status := a.Header.Get("X-Cache"), a.Header.Get("Cache-Status")
	if how == "STALE" || a.Status != http.StatusOK && a.Status != http.StatusNotFound {
		return q, false
	}
	body, err := a.Body()
	if err != nil {
		body = a.Wire // nobody gave these bytes, which is what will be said of them
	}
	s := c.world.settings
	sum := sha256.Sum256(body)
	path, _, _ := strings.Cut(op.Path, "?")
	if op.Method == http.MethodGet {
		path = op.Path
	}
	q = question{
		Method: op.Method, Path: path, Body: a.Request.Body, Status: a.Status, SHA: hex.EncodeToString(sum[:]),
		Late: s.late().Milliseconds(), BotLate: s.botLate().Milliseconds(), Admin: s.Admin,
		Collapsed: strings.Contains(status, "collapsed"),
	}
	if isUnread(op.Header) {
		q.Body = json.RawMessage("{}")
	}
	stored := how == "HIT" || strings.Contains(status, "stored")
	switch {
	case strings.Contains(status, "provisional-settling"):
		q.Grace = s.Provisional.Milliseconds()
	case strings.Contains(status, "provisional-behind"):
		q.Grace = behindTTL.Milliseconds()
	case strings.Contains(status, "provisional"): // for another reason, which the interface gives no time
	case stored && ttl(status) > longTTL:
		q.Lasting, q.Fresh = true, s.Fresh
	}
	return q, true
}

// ttl is what Cache-Status says that an answer is still kept for.
func ttl(status string) time.Duration {
	_, after, _ := strings.Cut(status, "ttl=")
	number, _, _ := strings.Cut(after, ";")
	seconds, _ := strconv.Atoi(number)
	return time.Duration(seconds) * time.Second
}

// loop asks until finish, as many at a time as have come.
func (c *checker) loop() {
	defer close(c.done)
	for first := range c.asks {
		batch := []pending{first}
	more:
		for len(batch) < 64 {
			select {
			case p, ok := <-c.asks:
				if !ok {
					break more
				}
				batch = append(batch, p)
			default:
				break more
			}
		}
		c.ask(batch)
	}
}

func (c *checker) ask(batch []pending) {
	asks := make([]question, len(batch))
	for i, p := range batch {
		asks[i] = p.question
	}
	var said struct{ Verdicts []verdict }
	err := c.world.send(http.MethodPost, "/__test/check", map[string]any{"asks": asks}, &said)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
		c.stop(err)
		return
	}
	c.checked += len(batch)
	for i, v := range said.Verdicts {
		if v.OK {
			continue
		}
		w := &Wrong{Op: batch[i].op, Answer: batch[i].answer, Asked: asks[i], Verdict: v, Before: c.before(asks[i])}
		c.foundLocked(w)
	}
}

// foundLocked notes a wrong answer.
func (c *checker) foundLocked(w *Wrong) {
	if c.wrongs[w.sort()]++; c.survey && c.wrongs[w.sort()] == 1 {
		fmt.Println(w)
	}
	if c.wrong == nil || w.Op.N < c.wrong.Op.N {
		c.wrong = w
	}
	if !c.survey {
		c.stop(fmt.Errorf("operation %d was answered wrong", w.Op.N))
	}
}

// finish waits for the last verdicts.
func (c *checker) finish() (*Wrong, error) {
	close(c.asks)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong, c.err
}
