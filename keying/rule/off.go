//go:build !mutations

package rule

// Off reports whether r was taken out: never in a build for use.
func Off(Rule) bool { return false }
