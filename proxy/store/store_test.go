package store

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry(key string, body []byte) *Entry {
	return (&Entry{
		Key: key, Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}, "X-Two": {"a", "b"}},
		Body: body, Gzip: true, Length: 77, Digest: "0123456789abcdef", StoredAt: time.UnixMilli(1_700_000_000_123),
		Fresh: time.Hour, Stale: 2 * time.Hour, Provisional: "settling", Spelling: "5pe11ed",
	}).Prepare()
}

func TestEntryComesBackFromItsEncodingAsItWas(t *testing.T) {
	in := entry("backtest:bot:hash:2026-01-14", []byte{0, 1, 2, 255})
	b, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Decode(in.Key, b)
	if err != nil {
		t.Fatalf("Decode(%q, %d bytes): %v", in.Key, len(b), err)
	}
	if out.Status != in.Status || !bytes.Equal(out.Body, in.Body) || !out.Gzip || out.Length != in.Length ||
		out.Digest != in.Digest || !out.StoredAt.Equal(in.StoredAt) || out.Fresh != in.Fresh || out.Stale != in.Stale ||
		out.Provisional != in.Provisional || out.Spelling != in.Spelling || out.Header.Get("X-Two") != "a" || len(out.Header["X-Two"]) != 2 {
		t.Errorf("encoded %+v\ndecoded %+v", in, out)
	}
}

func TestDamagedOrForeignValueIsAMiss(t *testing.T) {
	good, err := Encode(entry("k", []byte("body")))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	otherVersion := append([]byte("WFE9"), good[4:]...)
	for name, value := range map[string][]byte{
		"empty": {}, "short": []byte("WFE1"), "text": []byte(`{"cached":true}`), "truncated": good[:len(good)-1],
		"flipped bit": flipped, "other version": otherVersion, "zeros": make([]byte, 64),
	} {
		if e, err := Decode("k", value); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: Decode gave %v, %v; want ErrForeign", name, e, err)
		}
	}
	if _, err := Decode("another key", good); !errors.Is(err, ErrForeign) {
		t.Errorf("the entry of one key was given for another: %v", err)
	}
}

func FuzzDecodeNeverGivesAnEntryOfAnotherKey(f *testing.F) {
	good, _ := Encode(entry("k", []byte("body")))
	f.Add("k", good)
	f.Add("", []byte("WFE1\x00\x00\x00\x02{}12345678"))
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		e, err := Decode(key, b)
		if err == nil && e.Key != key {
			t.Errorf("Decode(%q) gave the entry of %q", key, e.Key)
		}
	})
}

func TestEachCodingHasItsOwnETagAndLength(t *testing.T) {
	e := entry("k", []byte("zipped"))
	plain, zipped := http.Header{}, http.Header{}
	e.CopyHeader(plain, false)
	e.CopyHeader(zipped, true)
	if plain.Get("ETag") == zipped.Get("ETag") || plain.Get("Content-Length") != "77" || zipped.Get("Content-Length") != "6" {
		t.Errorf("identity %v\ngzip %v", plain, zipped)
	}
}

func TestFreshnessAndStaleness(t *testing.T) {
	e := entry("k", nil)
	for _, c := range []struct {
		after        time.Duration
		fresh, stale bool
	}{{0, true, true}, {59 * time.Minute, true, true}, {time.Hour, false, true}, {3 * time.Hour, false, false}} {
		now := e.StoredAt.Add(c.after)
		if e.IsFresh(now) != c.fresh || e.IsUsableStale(now) != c.stale {
			t.Errorf("after %v: fresh %v, stale %v; want %v, %v", c.after, e.IsFresh(now), e.IsUsableStale(now), c.fresh, c.stale)
		}
	}
	if age := e.Age(e.StoredAt.Add(-time.Minute)); age != 0 {
		t.Errorf("a clock that went back gives the age %v, want 0", age)
	}
}

func TestMemoryKeepsWithinItsLimit(t *testing.T) {
	const limit = 1 << 20
	m, err := NewMemory(limit)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i := range 300 {
		m.Set(entry("key-"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+string(rune('a'+i/26)), make([]byte, 20_000)))
		if used := m.Used(); used > limit+limit/10 {
			t.Fatalf("after %d entries of 20 kB the tier holds %d bytes, over its limit of %d by more than a tenth", i+1, used, limit)
		}
	}
	if m.Used() < limit/2 {
		t.Errorf("the tier holds %d bytes of %d after 6 MB of fills", m.Used(), limit)
	}
}

func TestMemoryGivesWhatWasSetAtOnce(t *testing.T) {
	m, err := NewMemory(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i := range 50 {
		e := entry(strings.Repeat("k", i+1), []byte("body"))
		m.Set(e)
		if got, ok := m.Get(e.Key); !ok || got != e {
			t.Fatalf("Get(%q) right after Set gave %v, %v", e.Key, got, ok)
		}
	}
	m.Del("k")
	if e, ok := m.Get("k"); ok {
		t.Errorf("Get after Del gave %v", e)
	}
}

// A Redis that accepts and never answers is the worst kind: no error ends the wait.
func TestHungRedisHoldsUpNobodyAndIsLeftAlone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan net.Conn, 100)
	go func() {
		defer close(held)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			held <- c
		}
	}()
	r, err := NewRedis("redis://"+listener.Addr().String(), "p:")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if e, err := r.Get(context.Background(), "k"); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Get from a hung Redis gave %v, %v; want ErrUnavailable", e, err)
		}
	}
	for end := time.Now().Add(10 * time.Second); !errors.Is(r.Trouble(), ErrUnavailable); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("trouble %v after five failures; want the breaker to have opened", r.Trouble())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.Flush(ctx)
	_ = r.Close()
	_ = listener.Close()
	for c := range held {
		_ = c.Close()
	}
}

func TestRedisURLsOfEveryKindAreUnderstood(t *testing.T) {
	for _, raw := range []string{
		"redis://user:pw@127.0.0.1:1/2", "rediss://127.0.0.1:1", "unix:///nowhere/redis.sock?db=1",
		"redis://127.0.0.1:1?addr=127.0.0.1:2", "redis://127.0.0.1:1?master_name=m",
	} {
		r, err := NewRedis(raw, "p:")
		if err != nil {
			t.Errorf("NewRedis(%q): %v", raw, err)
			continue
		}
		if _, err := r.Get(context.Background(), "k"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: Get gave %v, want ErrUnavailable", raw, err)
		}
		_ = r.Close()
	}
	if _, err := NewRedis("http://127.0.0.1", "p:"); err == nil {
		t.Error("NewRedis took an http URL")
	}
}
