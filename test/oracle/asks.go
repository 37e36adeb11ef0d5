package oracle

import "net/http"

// Requests as scenarios are made of them.

func runOf(replica, bot int, mode string) Op {
	return Op{
		Kind: "run", Replica: replica, Method: "POST", Path: "/api/bots/" + botID(bot) + "/run-backtest",
		Body: map[string]any{"mode": mode}, Check: true,
	}
}

func optimizeOf(replica int, bots ...int) Op {
	var ids []string
	for _, bot := range bots {
		ids = append(ids, botID(bot))
	}
	return Op{Kind: "optimize", Replica: replica, Method: "POST", Path: "/api/correlation/optimize", Body: map[string]any{"botIds": ids}, Check: true}
}

func adhocOf(strategy int) Op {
	return Op{Kind: "adhoc", Method: "POST", Path: "/api/backtest", Strategy: &strategy, Body: map[string]any{"mode": "CC"}, Check: true}
}

func getOf(kind string, replica int, path string) Op {
	return Op{Kind: kind, Replica: replica, Method: http.MethodGet, Path: path, Check: true}
}
