package seed

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of a price file. The history since 1990 has fewer than 10 000 rows and takes a megabyte; what is
// far beyond that is damaged or something else.
const (
	maxFile = 64 << 20
	maxRows = 100_000
)

// Reasons for leaving a file out.
const (
	unreadable = "unreadable" // not a parquet file, half-written, damaged
	changing   = "changing"   // written to while it was read
	misshapen  = "misshapen"  // a column is missing or of another type
	empty      = "empty"
	oversized  = "oversized"
	badName    = "bad name"
)

// An unusable file, and why.
type unusable struct {
	reason string
	err    error
}

func (u *unusable) Error() string { return u.reason + ": " + u.err.Error() }
func (u *unusable) Unwrap() error { return u.err }

func refuse(reason, format string, args ...any) error {
	return &unusable{reason, fmt.Errorf(format, args...)}
}

// reasonOf is the reason of an unusable file, whatever the error is.
func reasonOf(err error) string {
	if u, ok := errors.AsType[*unusable](err); ok {
		return u.reason
	}
	return unreadable
}

// bars is a ticker's history, oldest first. NaN is an unknown value.
type bars struct {
	days                                     []Day
	open, high, low, close, volume, adjusted []float64
}

// priceFiles gives the path of every price file in dir by its ticker. The ticker is the file's name, as
// it is for the server's own reader and jobs, and not the column of that name: the downloaders spell
// tickers in their own ways there (details, section 8).
func priceFiles(dir string) (paths map[string]string, badNames int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("listing the price files (is PARQUET_DIR right?): %w", err)
	}
	paths = make(map[string]string, len(entries))
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".parquet")
		if !ok || e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		ticker := strings.ToUpper(name)
		if _, taken := paths[ticker]; taken || !plain(ticker) {
			badNames++ // of two that differ in case the upper-case one comes first
			continue
		}
		paths[ticker] = filepath.Join(dir, e.Name())
	}
	if len(paths) == 0 {
		return nil, badNames, fmt.Errorf("no price files in %s (is PARQUET_DIR right, is its volume mounted?)", dir)
	}
	return paths, badNames, nil
}

// readBars reads a file that the server may be rewriting in place at this moment (details, section 8).
// A second try after a short while tells a rewrite from damage.
func readBars(path string) (b *bars, err error) {
	for pause := 50 * time.Millisecond; ; pause *= 4 {
		b, err = readOnce(path)
		if reason := reasonOf(err); err == nil || reason != unreadable && reason != changing || pause > time.Second {
			return b, err
		}
		time.Sleep(pause)
	}
}

func readOnce(path string) (*bars, error) {
	content, err := snapshot(path)
	if err != nil {
		return nil, err
	}
	return parseBars(content)
}

// snapshot is the content of a file that did not change meanwhile.
func snapshot(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, refuse(unreadable, "%w", err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, refuse(unreadable, "%w", err)
	}
	if before.Size() > maxFile || !before.Mode().IsRegular() {
		return nil, refuse(oversized, "%s has %d bytes", path, before.Size())
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, refuse(unreadable, "%w", err)
	}
	after, err := f.Stat()
	if err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) || int64(len(content)) != after.Size() {
		return nil, refuse(changing, "%s was written to while it was read", path)
	}
	return content, nil
}

func parseBars(content []byte) (b *bars, err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some damaged files
			b, err = nil, refuse(unreadable, "the parquet reader panicked: %v", p)
		}
	}()
	// A length in a torn footer is arbitrary, and the library would allocate that much.
	if n := len(content); n < 12 || int64(binary.LittleEndian.Uint32(content[n-8:])) > int64(n-12) {
		return nil, refuse(unreadable, "no parquet footer")
	}
	f, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	switch {
	case err != nil:
		return nil, refuse(unreadable, "%w", err)
	case f.NumRows() == 0:
		return nil, refuse(empty, "no rows")
	case f.NumRows() < 0 || f.NumRows() > maxRows:
		return nil, refuse(oversized, "%d rows", f.NumRows())
	}
	if err := checkPages(f, content); err != nil {
		return nil, err
	}
	times, err := column(f, "Date", instant)
	if err != nil {
		return nil, err
	}
	var columns [6][]float64
	for i, name := range []string{"Open", "High", "Low", "Close", "Volume", "Adj Close"} {
		if columns[i], err = column(f, name, float); err != nil {
			return nil, err
		}
	}
	return arrange(times, columns)
}

// arrange puts the rows in order of time. A row without a date has no place and is left out.
func arrange(times []int64, columns [6][]float64) (*bars, error) {
	order := make([]int, 0, len(times))
	for i, t := range times {
		if t != noInstant {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		return nil, refuse(empty, "no row has a date")
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(times[a], times[b]) })
	b := &bars{days: make([]Day, len(order))}
	for i, row := range order {
		b.days[i] = Day(math.Floor(float64(times[row]) / secondsPerDay))
	}
	for i, to := range []*[]float64{&b.open, &b.high, &b.low, &b.close, &b.volume, &b.adjusted} {
		*to = make([]float64, len(order))
		for k, row := range order {
			(*to)[k] = columns[i][row]
		}
	}
	return b, nil
}

// column reads one column, with what convert makes of each value.
func column[T any](f *parquet.File, name string, convert func(parquet.Value, parquet.Type) (T, bool)) ([]T, error) {
	c := f.Root().Column(name)
	if c == nil || !c.Leaf() || c.Repeated() {
		return nil, refuse(misshapen, "no column %q", name)
	}
	out := make([]T, 0, f.NumRows())
	var page [512]parquet.Value
	for _, group := range f.RowGroups() {
		pages := group.ColumnChunks()[c.Index()].Pages()
		for {
			p, err := pages.ReadPage()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, refuse(unreadable, "column %q: %w", name, errors.Join(err, pages.Close()))
			}
			values := p.Values()
			for err == nil {
				var n int
				n, err = values.ReadValues(page[:])
				for _, v := range page[:n] {
					t, ok := convert(v, c.Type())
					if !ok {
						return nil, refuse(misshapen, "column %q has values of type %s", name, c.Type())
					}
					if out = append(out, t); int64(len(out)) > f.NumRows() {
						return nil, refuse(unreadable, "column %q has more values than rows", name)
					}
				}
			}
			parquet.Release(p)
			if !errors.Is(err, io.EOF) {
				return nil, refuse(unreadable, "column %q: %w", name, err)
			}
		}
		if err := pages.Close(); err != nil {
			return nil, refuse(unreadable, "column %q: %w", name, err)
		}
	}
	if int64(len(out)) != f.NumRows() {
		return nil, refuse(unreadable, "column %q has %d values in %d rows", name, len(out), f.NumRows())
	}
	return out, nil
}

// float takes any number: volumes are integers from one downloader and floats from the other.
func float(v parquet.Value, t parquet.Type) (float64, bool) {
	if _, scaled := logicalOf(t).(*format.DecimalType); scaled {
		return 0, false
	}
	if v.IsNull() {
		return math.NaN(), true
	}
	switch v.Kind() {
	case parquet.Double:
		return v.Double(), true
	case parquet.Float:
		return float64(v.Float()), true
	case parquet.Int64:
		return float64(v.Int64()), true
	case parquet.Int32:
		return float64(v.Int32()), true
	}
	return 0, false
}

const noInstant = math.MinInt64

// The years that have four digits.
var (
	firstInstant = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// instant is a date or a timestamp of any unit in seconds since 1970. One that is adjusted to UTC and one
// that is naive mean the same day: both downloaders write midnight.
func instant(v parquet.Value, t parquet.Type) (seconds int64, ok bool) {
	if v.IsNull() {
		return noInstant, true
	}
	switch logical := logicalOf(t).(type) {
	case *format.DateType:
		seconds = int64(v.Int32()) * secondsPerDay
	case *format.TimestampType:
		if logical.Unit.Value == nil {
			return 0, false
		}
		seconds = floorDiv(v.Int64(), int64(time.Second/logical.Unit.Value.Duration()))
	default:
		if v.Kind() != parquet.Int96 {
			return 0, false
		}
		// Of older writers: nanoseconds of the day, then the Julian day.
		i := v.Int96()
		nanos := int64(uint64(i[0]) | uint64(i[1])<<32)
		seconds = (int64(i[2])-julianEpoch)*secondsPerDay + floorDiv(nanos, 1e9)
	}
	return seconds, seconds >= firstInstant && seconds <= lastInstant
}

func logicalOf(t parquet.Type) format.LogicalTypeValue {
	if logical := t.LogicalType(); logical != nil {
		return logical.Value
	}
	return nil
}

const julianEpoch = 2_440_588 // 1970-01-01

func floorDiv(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

// fileTicker is a ticker as the names of price files spell it (details, section 8).
func fileTicker(ticker string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, ticker)
}
