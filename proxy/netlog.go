package proxy

import (
	"log"
	"strings"

	"go.uber.org/zap"
)

// NetLog is where net/http prints what it has to say, on the standard log too. It quotes what came over a connection,
// which may be bytes of a body (contract, trap 14): those are left out.
func NetLog(l *zap.Logger) *log.Logger { return log.New(netLog{l}, "", 0) }

type netLog struct{ log *zap.Logger }

func (n netLog) Write(line []byte) (int, error) {
	n.log.Warn("net/http", zap.String("said", unquoted(strings.TrimSpace(string(line)))))
	return len(line), nil
}

// unquoted leaves out what stands between the first and the last quotation mark.
func unquoted(text string) string {
	from, to := strings.IndexByte(text, '"'), strings.LastIndexByte(text, '"')
	if from == to {
		return text
	}
	return text[:from+1] + "…" + text[to:]
}

// causeOf is an error for the log. Some of net/http's quote what came instead of an answer.
func causeOf(err error) zap.Field { return zap.String("error", unquoted(err.Error())) }
