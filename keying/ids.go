package keying

import "strings"

// maxID is how long an id may be to be renamed.
const maxID = 128

// ordinary reports whether an id is nothing but a name to JavaScript, so that another in its place changes
// nothing (trap 18). The engine keeps the state of altExit nodes in a plain object, by the node's id or else
// "unknown": there the names of Object.prototype are taken already, a number, a truth value or null meets the
// string of its spelling, and nodes without an id meet the one that is called unknown. It joins ids to other
// texts with colons; so only letters, digits, "-" and "_" are beyond doubt.
func ordinary(id string) bool {
	switch id {
	case "unknown", "undefined", "null", "true", "false", "NaN", "Infinity", "-Infinity",
		"constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf":
		return false
	}
	if strings.HasPrefix(id, "__") { // __proto__, __defineGetter__, ...
		return false
	}
	numeric := id[0] == '-' || '0' <= id[0] && id[0] <= '9'
	for i := 0; i < len(id); i++ {
		c := id[i]
		if !alphanumeric(c) && c != '-' && c != '_' {
			return false
		}
		numeric = numeric && ('0' <= c && c <= '9' || c == 'e' || c == '-') // as JavaScript spells numbers: 1, 1e21, 1e-7, -5
	}
	return !numeric
}
