package keying

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ID names what the request itself says, whatever the state of bots and data: two requests that would
// share a key at every moment share an ID. It is the hex SHA-256 of the route and the meaning.
func (q *Request) ID() string {
	h := sha256.New()
	h.Write([]byte(q.Route.Name))
	h.Write([]byte{0}) // no route's name has one
	h.Write(q.meaning)
	return hex.EncodeToString(h.Sum(nil))
}

// Replay is a body with which the request can be asked again later, received being the one it came
// with. It is in canonical form, with defaults filled in and without forceRefresh, which would make
// the second asking another thing. Where the body holds a strategy it is the received one, since ids
// have no canonical spelling that the server would know. A GET has none.
func (q *Request) Replay(received []byte) []byte {
	switch {
	case q.Route.Method == "GET":
		return nil
	case q.Route.payload != noPayload:
		return received
	}
	var said struct {
		Body jsontext.Value `json:"body"`
	}
	if err := json.Unmarshal(q.meaning, &said); err != nil {
		return received // can't be: mean wrote it
	}
	return said.Body
}
