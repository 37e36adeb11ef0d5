//go:build mutations

package rule

import (
	"os"
	"slices"
	"strings"
)

var missing = strings.Split(os.Getenv("WARMFRONT_WITHOUT"), ",")

// Off reports whether r is one of the rules that WARMFRONT_WITHOUT takes out.
func Off(r Rule) bool { return slices.Contains(missing, string(r)) }
