package oracle

import "strings"

// unread is a Content-Type that Express does not understand.
const unread = "Content-Type: application/json;"

// isUnread reports whether the server sees no body under the header.
func isUnread(header string) bool {
	return strings.HasPrefix(header, unread) && !strings.Contains(header, "; charset") || strings.Contains(header, "Connection: close, Content-Type")
}

// strategy is one of all, those that are told apart by their spelling less often.
func (m *maker) strategy() int {
	if m.IntN(4) > 0 {
		return m.IntN(len(strategies))
	}
	return len(strategies) + m.IntN(spellings)
}

func (m *maker) admin(op *Op, bot string) {
	op.Method, op.Body = "POST", map[string]any{}
	switch op.Kind {
	case "run-now":
		op.Path, op.Body = "/api/admin/sync-schedule/run-now", map[string]any{"source": "tiingo"}
	case "download":
		op.Path, op.Body = "/api/download", map[string]any{"mode": one(m, "full", "recent")}
	case "invalidate":
		op.Path = "/api/admin/cache/invalidate"
	case "invalidate-bot":
		op.Path, op.Body = "/api/admin/cache/invalidate", map[string]any{"botId": bot}
	case "refresh":
		op.Path = "/api/admin/cache/refresh"
	}
}

// refused are writes that the server takes for none: its parser, its schema or its login refuses them.
func (m *maker) refused(op *Op, bot string) {
	op.Method = "POST"
	switch m.IntN(5) {
	case 0:
		op.Path = "/api/download"
	case 1:
		op.Path = "/api/admin/sync-schedule/run-now"
	case 2:
		op.Path = "/api/admin/cache/invalidate"
	case 3:
		op.Path = "/api/bots"
	case 4:
		op.Method, op.Path = "PUT", "/api/bots/"+bot
	}
	switch m.IntN(3) {
	case 0:
		op.Raw = "{"
	case 1:
		op.Raw, op.Header = "{}", "Content-Type: application/json; charset=none-such"
	case 2:
		op.Raw, op.Header = `{"visibility":"nexus_eligible"`, "Content-Encoding: none-such"
	}
}
