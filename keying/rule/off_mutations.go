//go:build mutations

package rule

import "os"

var missing = Rule(os.Getenv("WARMFRONT_WITHOUT"))

// Off reports whether r is the rule that WARMFRONT_WITHOUT takes out.
func Off(r Rule) bool { return r == missing }
