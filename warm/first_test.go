package warm

import (
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestTheVeryFirstStartWarmsNothingUntilTheDataMoves(t *testing.T) {
	bubble(t, func(t *testing.T, w *fakeWorld, p *fakeProxy) {
		running(t, New(Options{World: w, Handler: p, Host: "server", Prefix: "test:", Enabled: true, Concurrency: 2, Journal: 1000, Log: zap.NewNop()}))
		after(time.Minute)
		if n := p.started(); n != 0 {
			t.Fatalf("%d requests at the very first start, expected none", n)
		}
		w.moved("2026-01-15", "g2")
		after(time.Minute)
		if n := p.started(); n != 4 {
			t.Fatalf("%d requests after the data moved, expected three bots' backtests and the benchmarks", n)
		}
	})
}
