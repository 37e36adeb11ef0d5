package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"warmfront/keying"
)

// candle is what a ticker showed last: its newest date, a hash of its last 50 candles, and a short hash of each.
// A sync that rewrites history does so from the last dividend or split on, which the sync before it did not apply:
// a month at most, and 50 trading days are more than two.
type candle struct {
	Date string `json:"d"`
	Hash string `json:"h"`
	Days string `json:"w,omitempty"` // dayLength characters a candle, oldest first
}

// dayLength is the length of a candle's short hash: 36 bits.
const dayLength = 6

// extends reports whether c only adds candles to those of before: whatever both show is the same. That can't be
// told when so many were added that nothing shows in both.
func (c candle) extends(before candle) bool {
	if len(before.Days) < dayLength || len(c.Days) < dayLength {
		return false
	}
	last := before.Days[len(before.Days)-dayLength:]
	for end := len(c.Days); end >= dayLength; end -= dayLength {
		if c.Days[end-dayLength:end] == last {
			shared := min(end, len(before.Days))
			return c.Days[end-shared:end] == before.Days[len(before.Days)-shared:]
		}
	}
	return false
}

// askCandle gives a ticker's newest candle, which the server always reads from disk.
func (d *DataWatch) askCandle(ctx context.Context, ticker string) (candle, error) {
	path := "/api/candles/" + url.PathEscape(ticker) + "?limit=50"
	res, body, err := d.client.get(ctx, path, nil)
	if err != nil {
		return candle{}, err
	}
	var a struct {
		Candles []json.RawMessage `json:"candles"`
	}
	var last struct {
		Time int64 `json:"time"`
	}
	if res.StatusCode != http.StatusOK || keying.ReadJSON(body, &a) != nil || len(a.Candles) == 0 || keying.ReadJSON(a.Candles[len(a.Candles)-1], &last) != nil {
		return candle{}, fmt.Errorf("%w: status %d without candles for %s", ErrStatus, res.StatusCode, path)
	}
	var days strings.Builder
	for _, c := range a.Candles {
		sum := sha256.Sum256(c)
		days.WriteString(base64.RawStdEncoding.EncodeToString(sum[:8])[:dayLength])
	}
	return candle{Date: time.Unix(last.Time, 0).UTC().Format(time.DateOnly), Hash: hashOf(body), Days: days.String()}, nil
}
