package keying

import (
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ReadJSON reads a text of a client or of the server into what a Go value has room for, as the server would read it:
// a name counts letter by letter ("botid" is not botId, which encoding/json takes for it), and half a
// surrogate pair in a text spoils nothing else. Of a name that stands twice JavaScript takes the last; here it is an error.
func ReadJSON(text []byte, into any) error {
	err := json.Unmarshal(text, into, jsontext.AllowInvalidUTF8(true))
	switch _, malformed := errors.AsType[*jsontext.SyntacticError](err); {
	case err == nil:
		return nil
	case malformed:
		return syntax(err)
	}
	return faulty("json", "JSON of another shape") // the decoder's error may quote the text (trap 14)
}
