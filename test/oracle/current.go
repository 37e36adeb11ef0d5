package oracle

import (
	"context"
	"errors"
	"net/http"
	"time"

	"warmfront/test/harness"
)

// dutyAfter is when, after a sync is over for everybody, no answer may be from the old history any more, however it is
// marked: the two minutes of the promise, with clocks as short as those of quick.
const dutyAfter = 30 * time.Second

// everyRead asks each route that an admin's clearing makes right again. Benchmark tables only a restart renews.
func everyRead(replica int) []Op {
	at := func(op Op) Op {
		op.Replica = replica
		return op
	}
	series := Op{Kind: "indicators", Method: http.MethodPost, Path: "/api/indicator-series", Check: true, Body: map[string]any{
		"mode":       "CC",
		"conditions": []any{map[string]any{"id": "c1", "ticker": "XOM", "metric": "Rate of Change", "window": 3, "comparator": "gt", "threshold": 0}}}}
	sanity := Op{Kind: "sanity", Method: http.MethodPost, Path: "/api/sanity-report", Check: true, Strategy: new(2), Body: map[string]any{"years": 1}}
	saved := Op{Kind: "bot-sanity", Method: http.MethodPost, Path: "/api/bots/" + botID(2) + "/sanity-report", Check: true, Body: map[string]any{"years": 1}}
	recommend := Op{Kind: "recommend", Method: http.MethodPost, Path: "/api/correlation/recommend", Check: true,
		Body: map[string]any{"currentBotIds": []string{botID(0)}, "candidateBotIds": []string{botID(2), botID(3)}}}
	return []Op{
		runOf(replica, 0, "CC"), runOf(replica, 2, "CC"), at(adhocOf(2)), at(saved), at(sanity), at(series), at(recommend),
		optimizeOf(replica, 0, 2), getOf("candles", replica, "/api/candles/XOM?limit=60"),
	}
}

// current waits until every route of every replica, and the server with its own rows, answers from the files as they are.
// What does not in time is a wrong answer.
func (r *run) current(ctx context.Context, op Op) error {
	var ops []Op
	for _, replica := range []int{0, 1, -1} {
		ops = append(ops, everyRead(replica)...)
	}
	var late []pending
	err := harness.Until(dutyAfter, func() error {
		late = late[:0]
		for _, read := range ops {
			read.N = op.N
			p, ok, err := r.isCurrent(ctx, read)
			if err != nil {
				return err
			}
			if !ok {
				late = append(late, p)
			}
		}
		if len(late) > 0 && ctx.Err() == nil {
			return errors.New("some answers are from the old history")
		}
		return nil
	})
	if len(late) == 0 {
		return err
	}
	for _, p := range late {
		r.checker.asks <- p
	}
	return nil
}

// isCurrent asks once, and whether a fresh computation would have said the same.
func (r *run) isCurrent(ctx context.Context, op Op) (p pending, ok bool, err error) {
	req, err := r.request(op)
	if err != nil {
		return p, false, err
	}
	before := time.Now()
	a, err := harness.Send(ctx, r.world.client, req)
	if err != nil {
		return p, false, err
	}
	q, ok := r.checker.question(op, a)
	if !ok {
		return p, true, nil
	}
	q.From, q.To, q.Grace, q.Fresh = before.UnixMilli(), time.Now().UnixMilli(), 0, true
	var said struct{ Verdicts []verdict }
	if err = r.world.send(http.MethodPost, "/__test/check", map[string]any{"asks": []question{q}}, &said); err != nil {
		return p, false, err
	}
	return pending{op, a, q}, said.Verdicts[0].OK, nil
}
