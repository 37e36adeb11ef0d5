package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"warmfront/test/harness"
)

// later makes what is known of an origin older.
func later(o *Origins, origin string, by time.Duration) {
	known, ok := o.known(origin)
	if ok {
		known.learned = known.learned.Add(-by)
		o.remember(origin, known)
	}
}

// A server that computes doesn't answer; a hit must not wait for it to say again what it said minutes ago.
func TestHeadersOfAnOriginAreAskedForAgainBehindTheAnswer(t *testing.T) {
	goOn := make(chan struct{})
	var asked atomic.Int32
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if n == 2 {
			<-goOn
		}
		w.Header().Set("Access-Control-Max-Age", fmt.Sprint(n))
	})
	o := NewOrigins(c, nil)
	t.Cleanup(o.Close)
	after := func(by time.Duration) (got string) {
		later(o, "http://a", by)
		h, err := o.Headers(context.Background(), "http://a", true)
		if err != nil {
			t.Fatal(err)
		}
		return h.Get("Access-Control-Max-Age")
	}
	_, _ = o.Headers(context.Background(), "http://a", true)
	for _, by := range []time.Duration{0, originTTL, 0, originMax / 2} {
		if got := after(by); got != "1" {
			t.Errorf("%v later, the headers of answer %s, want the first", by, got)
		}
	}
	close(goOn)
	if err := harness.Until(10*time.Second, func() error {
		if got := after(0); got != "2" {
			return fmt.Errorf("the headers of answer %s, want those of the second", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if got := after(originMax); got != "3" {
		t.Errorf("long after, the headers of answer %s; want to have waited for the third", got)
	}
}

func TestOnlyWhoIsPatientWaitsForABusyServerToSayWhatAnOriginGets(t *testing.T) {
	goOn := make(chan struct{})
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-goOn
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	})
	o := NewOrigins(c, nil)
	t.Cleanup(o.Close)
	for range 3 {
		if h, err := o.Headers(t.Context(), "http://new", false); !errors.Is(err, ErrBusy) {
			t.Errorf("%v, %v; want ErrBusy", h, err)
		}
	}
	close(goOn)
	if h, err := o.Headers(t.Context(), "http://new", true); err != nil || h.Get("Access-Control-Allow-Origin") != "http://new" {
		t.Errorf("%v, %v; want to have waited for the server", h, err)
	}
}

func TestPreflightTeachesWhatItsRequestWillGetAndNothingElse(t *testing.T) {
	o := NewOrigins(nil, nil)
	t.Cleanup(o.Close)
	preflight := http.Header{
		"Access-Control-Allow-Origin": {"http://a"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Allow-Methods": {"GET,POST"},
		"Access-Control-Allow-Headers": {"content-type"}, "Access-Control-Max-Age": {"600"}, "Vary": {"Origin, Access-Control-Request-Headers"},
	}
	o.LearnPreflight("http://a", preflight)
	h := o.Remembered("http://a")
	if h.Get("Access-Control-Allow-Origin") != "http://a" || h.Get("Vary") != "Origin, Accept-Encoding" || len(h) != 3 {
		t.Errorf("learned %v; want Allow-Origin, Allow-Credentials and Vary: Origin, Accept-Encoding", h)
	}
	answer := http.Header{"Access-Control-Allow-Origin": {"http://a"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-Own"}}
	o.Learn("http://a", answer)
	o.LearnPreflight("http://a", preflight)
	if h := o.Remembered("http://a"); h.Get("Access-Control-Expose-Headers") != "X-Own" {
		t.Errorf("after another preflight %v; want what the answer itself said", h)
	}
	o.LearnPreflight("http://a", http.Header{})
	if h := o.Remembered("http://a"); len(h) != 1 {
		t.Errorf("after the server refused a preflight %v is remembered", h)
	}
}
