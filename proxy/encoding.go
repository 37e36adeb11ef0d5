package proxy

import (
	"bytes"
	"errors"
	"io"
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

// matches reports whether an If-None-Match field names the entity with this digest in any of its
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
			of, _, _ := strings.Cut(tag[1:len(tag)-1], "-")
			if of == digest {
				return true
			}
		}
	}
	return false
}
