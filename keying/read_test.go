package keying

import "testing"

func TestJSONIsReadAsTheServerReadsIt(t *testing.T) {
	for text, want := range map[string]string{
		`{"botId":"x"}`: "x", `{"bot\u0049d":"x"}`: "x", `{"botId":"x","other":{"a":1}}`: "x",
		`{"botid":"x"}`: "", `{"BotId":"x"}`: "", `{"botId ":"x"}`: "", `{"botId":null}`: "", `{"\u212AotId":"x"}`: "",
		`{"botId":"x","botid":"y"}`: "x", `{"botid":"y","botId":"x","title":"\ud83d"}`: "x",
		`{"botId":"x","botId":"y"}`: "error", `{"botId":1}`: "error", `[]`: "error", ``: "error", `{"botId":"x"}{}`: "error", `{"botId":"x"`: "error",
	} {
		var read struct {
			BotID string `json:"botId"`
		}
		if err := ReadJSON([]byte(text), &read); err != nil {
			read.BotID = "error"
		}
		if read.BotID != want {
			t.Errorf("%s names %q, want %q", text, read.BotID, want)
		}
	}
}
