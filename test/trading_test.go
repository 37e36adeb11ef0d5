package test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"warmfront/test/harness"
)

const orders = "/api/live/orders"

func TestOrderReachesTheServerOnce(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	for range 2 {
		ok(t, up.Reset())
		a := post(t, w.URL+orders, `{"symbol":"SPY","qty":1}`)
		if a.Status/100 != 2 {
			t.Fatalf("expected the order to be taken\n%s", a)
		}
		expect(t, a, a.Status, "X-Cache:")
		reached(t, up, "POST "+orders, 1)
	}
}

func TestOrderIsNotRepeatedWhenTheAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	w := warmfront(t, up.URL, nil)
	override(t, up, harness.Override{Method: "POST", Path: orders, Times: 5, Status: 200, Headers: asJSON, Body: `{"orderId":"1234567890"}`, BreakAfter: 10})
	a, err := harness.Send(limit(t), client(t), harness.Request{Method: "POST", URL: w.URL + orders, Body: []byte(`{}`),
		Header: []string{"Idempotency-Key: 1"}})
	if err == nil && a.Broken == nil && a.Status < 500 {
		t.Fatalf("a broken answer came as a whole one\n%s", a)
	}
	reached(t, up, "POST "+orders, 1)
}

// A keep-alive connection that dies under a request is what makes HTTP libraries repeat it.
func TestOrderIsNotRepeatedOnADeadConnection(t *testing.T) {
	t.Parallel()
	up := upstream(t)
	var mu sync.Mutex
	var got []http.Header
	through := passTo(t, up)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != orders {
			through.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		got = append(got, r.Header)
		mu.Unlock()
		panic(http.ErrAbortHandler) // the connection ends without a byte of answer
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	w := warmfront(t, s.URL, nil)
	for _, r := range []harness.Request{
		{Method: "POST", Header: []string{"Idempotency-Key: order-1"}},
		{Method: "POST", Header: []string{"X-Idempotency-Key: order-1"}, Body: []byte(`{"qty":1}`)},
		{Method: "POST", Body: []byte(`{"qty":1}`)},
		{Method: "PUT"}, {Method: "DELETE"},
	} {
		expect(t, get(t, w.URL+"/api/status"), 200) // leaves a connection that will be used again
		got = nil
		r.URL = w.URL + orders
		a, err := harness.Send(limit(t), client(t), r)
		ok(t, err)
		expect(t, a, 502)
		mu.Lock()
		if len(got) != 1 {
			t.Fatalf("the order reached the server %d times\n%s", len(got), a)
		}
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			req, err := r.Build(t.Context())
			ok(t, err)
			if want := req.Header.Values(name); !slices.Equal(got[0].Values(name), want) {
				t.Fatalf("%s reached the server as %q, expected %q", name, got[0].Values(name), want)
			}
		}
		mu.Unlock()
	}
}
