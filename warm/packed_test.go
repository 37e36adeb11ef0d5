package warm

import (
	"errors"
	"reflect"
	"testing"
)

func TestPackedRequestsReadBack(t *testing.T) {
	for _, a := range []*asked{
		{Method: "GET", Target: "/api/candles/SPY?limit=60"},
		{Method: "POST", Target: "/api/bots/%E2%82%AC/run-backtest", Body: `{"mode":"CC","x":"ü\u0000"}`, Bots: []string{"€"}},
	} {
		b, err := pack(a)
		ok(t, err)
		got, err := unpack(b)
		ok(t, err)
		if !reflect.DeepEqual(got, a) {
			t.Errorf("%+v reads back as %+v", a, got)
		}
	}
}

func TestDamagedRequestsAreNotRead(t *testing.T) {
	good, err := pack(&asked{Method: "GET", Target: "/api/candles/SPY?limit=60"})
	ok(t, err)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, err := unpack(bad); !errors.Is(err, errPacked) {
			t.Errorf("with byte %d damaged: %v", i, err)
		}
		if _, err := unpack(good[:i]); !errors.Is(err, errPacked) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	coders()
	good, err := pack(&asked{Method: "POST", Target: "/api/bots/b/run-backtest", Body: `{}`, Bots: []string{"b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(packedMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := unpack(b)
		if err != nil {
			if !errors.Is(err, errPacked) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		again, err := pack(a)
		if err != nil {
			t.Fatalf("what was read can't be packed: %v", err)
		}
		if _, err := unpack(again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzReadFact(f *testing.F) {
	f.Add("6927.3498848533955 1 175.82300000000001 1795569090 152")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if e, ok := readFact("id", s); ok && (e.Took < 0 || e.ID != "id") {
			t.Fatalf("%q reads as %+v", s, e)
		}
	})
}
