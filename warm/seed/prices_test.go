package seed

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
)

// A column of a price file under test; nil is a null.
type columnOf struct {
	node   parquet.Node
	values []any
}

var double = parquet.Leaf(parquet.DoubleType)

// priceColumns are three days that are out of order.
func priceColumns() map[string]columnOf {
	day := func(d int) any { return time.Date(2024, 2, d, 0, 0, 0, 0, time.UTC).UnixMicro() }
	return map[string]columnOf{
		"Date":      {parquet.Timestamp(parquet.Microsecond), []any{day(29), day(27), day(28)}},
		"ticker":    {parquet.String(), []any{"SPY", "SPY", "SPY"}},
		"Open":      {double, []any{3.1, 1.1, 2.1}},
		"High":      {double, []any{3.9, 1.9, 2.9}},
		"Low":       {double, []any{3.0, 1.0, 2.0}},
		"Close":     {double, []any{3.5, 1.5, 2.5}},
		"Adj Close": {double, []any{3.25, 1.25, 2.25}},
		"Volume":    {parquet.Int(64), []any{int64(300), int64(100), int64(200)}},
	}
}

func parquetOf(t testing.TB, columns map[string]columnOf) []byte {
	t.Helper()
	group, rows := parquet.Group{}, 0
	for name, c := range columns {
		group[name], rows = c.node, max(rows, len(c.values))
	}
	schema := parquet.NewSchema("prices", group)
	var out bytes.Buffer
	w := parquet.NewWriter(&out, schema)
	for i := range rows {
		row := make(parquet.Row, len(columns))
		for name, c := range columns {
			leaf, _ := schema.Lookup(name)
			v, level := parquet.ValueOf(c.values[i]), 0
			if c.node.Optional() && c.values[i] != nil {
				level = 1
			}
			row[leaf.ColumnIndex] = v.Level(0, level, leaf.ColumnIndex)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, w.Close())
	return out.Bytes()
}

const threeCandles = `[{"date":"2024-02-27","open":1.1,"high":1.9,"low":1,"close":1.5,"volume":100,"adjClose":1.25},` +
	`{"date":"2024-02-28","open":2.1,"high":2.9,"low":2,"close":2.5,"volume":200,"adjClose":2.25},` +
	`{"date":"2024-02-29","open":3.1,"high":3.9,"low":3,"close":3.5,"volume":300,"adjClose":3.25}]`

func TestCandlesAreTheSameWhateverTypesTheDownloaderChose(t *testing.T) {
	at := func(convert func(time.Time) any) []any {
		var values []any
		for _, d := range []int{29, 27, 28} {
			values = append(values, convert(time.Date(2024, 2, d, 0, 0, 0, 0, time.UTC)))
		}
		return values
	}
	floats := columnOf{double, []any{300.0, 100.0, 200.0}}
	for name, change := range map[string]func(c map[string]columnOf){
		"microseconds": func(map[string]columnOf) {},
		"milliseconds": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Timestamp(parquet.Millisecond), at(func(t time.Time) any { return t.UnixMilli() })}
		},
		"nanoseconds": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Timestamp(parquet.Nanosecond), at(func(t time.Time) any { return t.UnixNano() })}
		},
		"naive": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.TimestampAdjusted(parquet.Nanosecond, false), at(func(t time.Time) any { return t.UnixNano() })}
		},
		"late on the day": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Timestamp(parquet.Millisecond), at(func(t time.Time) any { return t.UnixMilli() + 86_399_999 })}
		},
		"nullable dates": func(c map[string]columnOf) { c["Date"] = columnOf{parquet.Optional(c["Date"].node), c["Date"].values} },
		"dates": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Date(), at(func(t time.Time) any { return int32(t.Unix() / 86400) })}
		},
		"Julian days": func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Leaf(parquet.Int96Type), at(func(t time.Time) any { return deprecated.Int96{0, 0, uint32(t.Unix()/86400 + 2440588)} })}
		},
		"float volumes":   func(c map[string]columnOf) { c["Volume"] = floats },
		"nullable floats": func(c map[string]columnOf) { c["Volume"] = columnOf{parquet.Optional(floats.node), floats.values} },
		"small volumes": func(c map[string]columnOf) {
			c["Volume"] = columnOf{parquet.Int(32), []any{int32(300), int32(100), int32(200)}}
		},
		"single precision": func(c map[string]columnOf) {
			c["Adj Close"] = columnOf{parquet.Leaf(parquet.FloatType), []any{float32(3.25), float32(1.25), float32(2.25)}}
		},
		"no ticker column": func(c map[string]columnOf) { delete(c, "ticker") },
		"one more column":  func(c map[string]columnOf) { c["Dividends"] = floats },
		"a row without a date": func(c map[string]columnOf) {
			for name, column := range c {
				column.values = append(column.values, column.values[0])
				c[name] = column
			}
			c["Date"] = columnOf{parquet.Optional(c["Date"].node), append(c["Date"].values[:3:3], nil)}
		},
	} {
		columns := priceColumns()
		change(columns)
		b, err := parseBars(parquetOf(t, columns))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := string(b.appendJSON(nil)); got != threeCandles {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestUnknownValuesAreNull(t *testing.T) {
	columns := priceColumns()
	columns["Adj Close"] = columnOf{parquet.Optional(double), []any{nil, 1.25, math.NaN()}}
	columns["Volume"] = columnOf{parquet.Optional(parquet.Int(64)), []any{int64(300), nil, int64(200)}}
	b, err := parseBars(parquetOf(t, columns))
	ok(t, err)
	var got []map[string]any
	ok(t, json.Unmarshal(b.appendJSON(nil), &got))
	if got[0]["volume"] != nil || got[0]["adjClose"] != 1.25 || got[1]["adjClose"] != nil || got[2]["adjClose"] != nil || got[2]["close"] != 3.5 {
		t.Errorf("got %v", got)
	}
}

func TestFilesThatArentPriceFilesAreSkippedWithAReason(t *testing.T) {
	good := parquetOf(t, priceColumns())
	with := func(change func(c map[string]columnOf)) []byte {
		c := priceColumns()
		change(c)
		return parquetOf(t, c)
	}
	for name, c := range map[string]struct {
		content []byte
		reason  string
	}{
		"empty":         {nil, unreadable},
		"text":          {[]byte("Date,ticker,Open,High,Low,Close\n"), unreadable},
		"a torn footer": {append(bytes.Clone(good[:len(good)-8]), 0xff, 0xff, 0xff, 0x7f, 'P', 'A', 'R', '1'), unreadable},
		"no rows": {with(func(c map[string]columnOf) {
			for n, column := range c {
				c[n] = columnOf{column.node, nil}
			}
		}), empty},
		"no closes":          {with(func(c map[string]columnOf) { delete(c, "Close") }), misshapen},
		"text as a price":    {with(func(c map[string]columnOf) { c["Low"] = c["ticker"] }), misshapen},
		"a number as a date": {with(func(c map[string]columnOf) { c["Date"] = c["Open"] }), misshapen},
		"an integer date":    {with(func(c map[string]columnOf) { c["Date"] = c["Volume"] }), misshapen},
		"the year 300000": {with(func(c map[string]columnOf) {
			c["Date"] = columnOf{c["Date"].node, []any{int64(1) << 62, int64(0), int64(0)}}
		}), misshapen},
		"only null dates": {with(func(c map[string]columnOf) {
			c["Date"] = columnOf{parquet.Optional(c["Date"].node), []any{nil, nil, nil}}
		}), empty},
		"decimal prices": {with(func(c map[string]columnOf) {
			c["Open"] = columnOf{parquet.Decimal(2, 12, parquet.Int64Type), []any{int64(1), int64(2), int64(3)}}
		}), misshapen},
	} {
		_, err := parseBars(c.content)
		if err == nil || reasonOf(err) != c.reason {
			t.Errorf("%s: %v, expected the reason %q", name, err, c.reason)
		}
	}
}

func TestHalfWrittenFileIsNeverTakenForAWholeOne(t *testing.T) {
	good := parquetOf(t, priceColumns())
	for n := range good {
		if _, err := parseBars(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a file", n, len(good))
		}
	}
	// Damage may go unseen in a value, but never ends the process.
	for i := range good {
		for _, bit := range []byte{1, 0x10, 0x80} {
			damaged := bytes.Clone(good)
			damaged[i] ^= bit
			_, _ = parseBars(damaged)
		}
	}
}

// Sizes in a page's header are varints: a few bytes make gigabytes of them.
func TestDamagedFileCostsLittleMemory(t *testing.T) {
	good := parquetOf(t, priceColumns())
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	for i := range len(good) - 5 {
		damaged := bytes.Clone(good)
		copy(damaged[i:], "\xfe\xff\xff\xff\x07") // the largest positive size
		before := allocated()
		_, err := parseBars(damaged)
		if cost := allocated() - before; cost > 16<<20 {
			t.Fatalf("damage at byte %d cost %d MiB (%v)", i, cost>>20, err)
		}
	}
}

func TestFileThatIsBeingRewrittenIsReadWhenItIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where waiting takes no time
		good := parquetOf(t, priceColumns())
		path := filepath.Join(t.TempDir(), "SPY.parquet")
		ok(t, os.WriteFile(path, good[:len(good)/2], 0o600))
		written := make(chan error)
		go func() {
			time.Sleep(60 * time.Millisecond)
			written <- os.WriteFile(path, good, 0o600)
		}()
		b, err := readBars(path)
		ok(t, <-written)
		ok(t, err)
		if len(b.days) != 3 {
			t.Errorf("read %d days", len(b.days))
		}
	})
}

func FuzzParquet(f *testing.F) {
	f.Add(parquetOf(f, priceColumns()))
	f.Fuzz(func(t *testing.T, content []byte) {
		if b, err := parseBars(content); err == nil && !json.Valid(b.appendJSON(nil)) {
			t.Error("the candles are no JSON")
		}
	})
}
