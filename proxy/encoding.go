package proxy

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// compressFrom is the size in bytes from which an answer that came uncompressed is compressed for
// storing: Express's compression has the same threshold.
const compressFrom = 1024

// errTooLong means that a body is longer when decoded than may be kept.
var errTooLong = errors.New("the decoded body is longer than MAX_ENTRY")

// gunzip decodes a whole body of at most limit bytes.
func gunzip(body []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	var decoded bytes.Buffer
	decoded.Grow(int(min(limit, int64(len(body))*6)))
	n, err := io.Copy(&decoded, io.LimitReader(z, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, errTooLong
	}
	return decoded.Bytes(), nil
}

// compress encodes a body with gzip.
func compress(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}

// acceptsGzip reports whether a client with these Accept-Encoding fields may be sent gzip
// (RFC 9110, section 12.5.3): it is named, or "*" is, with a weight above zero.
func acceptsGzip(fields []string) bool {
	named, star := -1.0, -1.0
	for _, line := range fields {
		for line != "" {
			var item string
			item, line, _ = strings.Cut(line, ",")
			coding, parameter, _ := strings.Cut(item, ";")
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, "gzip"), strings.EqualFold(coding, "x-gzip"):
				named = max(named, weight(parameter))
			case coding == "*":
				star = max(star, weight(parameter))
			}
		}
	}
	if named >= 0 {
		return named > 0
	}
	return star > 0
}

// weight reads a q parameter (RFC 9110, section 12.4.2); anything else counts as 1.
func weight(parameter string) float64 {
	name, value, ok := strings.Cut(strings.TrimSpace(parameter), "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || q < 0 {
		return 0
	}
	return q
}

// matches reports whether an If-None-Match field names the entity with this digest in either of its
// codings (RFC 9110, section 13.1.2: weak comparison; a coding's suffix does not change the entity).
func matches(fields []string, digest string) bool {
	for _, line := range fields {
		for line != "" {
			var tag string
			tag, line, _ = strings.Cut(line, ",")
			tag = strings.TrimSpace(tag)
			if tag == "*" {
				return true
			}
			tag = strings.TrimPrefix(tag, "W/")
			if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
				continue
			}
			if strings.TrimSuffix(tag[1:len(tag)-1], "-gzip") == digest {
				return true
			}
		}
	}
	return false
}
