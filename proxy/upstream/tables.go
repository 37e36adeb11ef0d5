package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"warmfront/keying"
	"warmfront/keying/rule"
)

// tablesAnswer is what the server told of one of its benchmark tables: whether it has a day of a ticker. The
// server loads a table when it is first asked for, and never again (trap 21).
type tablesAnswer struct {
	ticker, day string
	told, has   bool
}

// noteTables takes in what was told of the tables; moved: the candles have, since the last look. It reports
// whether the tables have what they were seen to lack, and so were loaded again.
func (m *memory) noteTables(a tablesAnswer, moved bool) (reloaded bool) {
	switch {
	case rule.Off(rule.TablesAsked):
		m.Stale = false
	case !a.told:
		m.Stale = m.Stale || moved
	case !a.has:
		m.Stale, m.Lacks = true, a.ticker+" "+a.day
	default:
		ticker, day, lacked := strings.Cut(m.Lacks, " ")
		reloaded = lacked && ticker == a.ticker && day <= a.day
		if m.Stale = false; reloaded {
			m.Lacks = ""
		}
	}
	return reloaded
}

// askTables gives the server's own data date, an opaque text that may be empty, and whether its table of ticker has
// that day. A range makes it look at the table: without one it answers from a row that it keeps (trap 21).
func (d *DataWatch) askTables(ctx context.Context, ticker, day string) (text string, a tablesAnswer, err error) {
	second := "QQQ"
	if ticker == second {
		second = "SPY"
	}
	s, err := d.askDays(ctx, []string{ticker, second}, day)
	if err != nil {
		return "", a, err
	}
	if s.DataDate == nil {
		return "", a, fmt.Errorf("%w: no dataDate for the benchmarks of %s", ErrStatus, ticker)
	}
	days, told := s.days(ticker)
	return *s.DataDate, tablesAnswer{ticker: ticker, day: day, told: told && day != "", has: days > 0}, nil
}

// TablesLack reports whether the server says of one of the tickers that its table lacks the day.
func (d *DataWatch) TablesLack(ctx context.Context, tickers []string, day string) bool {
	s, err := d.askDays(ctx, tickers, day)
	if err != nil {
		return true
	}
	for _, ticker := range tickers {
		if days, told := s.days(ticker); told && days == 0 {
			return true
		}
	}
	return false
}

// everything is a day before all prices: a range that begins there is all there is, and not answered from a row.
const everything = "1900-01-01"

// RowsDiffer reports whether the server's tables say something else about the tickers than its answer without a
// range did, which it may have from a row that is older than they are (trap 21).
func (d *DataWatch) RowsDiffer(ctx context.Context, tickers []string, answer []byte) bool {
	s, err := d.askDays(ctx, tickers, everything)
	var said daysAnswer
	if err != nil || keying.ReadJSON(answer, &said) != nil || len(s.Benchmarks) != len(said.Benchmarks) {
		return true
	}
	for ticker, metrics := range said.Benchmarks {
		if !bytes.Equal(s.Benchmarks[ticker], metrics) {
			return true
		}
	}
	return false
}

// daysAnswer is an answer about benchmarks over a range that is too short for them: its errors tell how many days
// of it the server has.
type daysAnswer struct {
	DataDate   *string                    `json:"dataDate"`
	Errors     []string                   `json:"errors"`
	Benchmarks map[string]json.RawMessage `json:"benchmarks"`
}

func (d *DataWatch) askDays(ctx context.Context, tickers []string, day string) (s daysAnswer, err error) {
	query := url.Values{}
	if len(tickers) > 0 {
		query.Set("tickers", strings.Join(tickers, ","))
	}
	if day != "" {
		query.Set("startDate", day)
	}
	path := "/api/benchmarks/metrics?" + query.Encode()
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return s, err
	}
	if res.StatusCode != http.StatusOK || keying.ReadJSON(body, &s) != nil {
		return s, fmt.Errorf("%w: status %d for %s", ErrStatus, res.StatusCode, path)
	}
	return s, nil
}

var daysIn = regexp.MustCompile(`\((\d+) days\)`)

// days gives how many days of the range the server says that it has of ticker; told is false when it doesn't say.
func (s daysAnswer) days(ticker string) (n int, told bool) {
	for _, text := range s.Errors {
		name, rest, ok := strings.Cut(text, ":")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), ticker) {
			continue
		}
		if found := daysIn.FindStringSubmatch(rest); found != nil {
			if n, err := strconv.Atoi(found[1]); err == nil {
				return n, true
			}
		}
	}
	return 0, false
}
