package proxy

import (
	"net/http"
	"testing"
)

func TestWhoAsksIsToldByEveryUsualCredential(t *testing.T) {
	names := newCredentialNames([]string{"X-Desk", " x-Floor"})
	for _, c := range []struct {
		name string
		want bool
	}{
		{"Authorization", true}, {"Cookie", true}, {"X-API-Key", true}, {"X-Api-Token", true}, {"X-Auth-Token", true}, {"Api-Key", true},
		{"ApiKey", true}, {"X-Access-Token", true}, {"X-Amz-Security-Token", true}, {"X-Authorization", true}, {"X-Session-Id", true},
		{"Cf-Access-Jwt-Assertion", true}, {"X-Forwarded-User", true}, {"Remote-User", true}, {"X-User-Id", true}, {"Ocp-Apim-Subscription-Key", true},
		{"X-Client-Cert", true}, {"Signature", true}, {"X-AuthToken", true}, {"X-Desk", true}, {"X-Floor", true},
		{"api_key", true}, {"x_api_key", true}, {"X.Api.Key", true}, {"user_id", true}, {"X-AccessKey", true}, {"X-ClientSecret", true},
		{"X-Forwarded-Email", true}, {"X-Amzn-Oidc-Identity", true}, {"X-Ms-Client-Principal-Id", true}, {"X-Ssl-Client-Dn", true},
		{"User-Agent", false}, {"Accept", false}, {"Accept-Encoding", false}, {"Content-Type", false}, {"Idempotency-Key", false},
		{"Sec-Fetch-User", false}, {"Sec-WebSocket-Key", false}, {"X-Forwarded-For", false}, {"Origin", false}, {"Referer", false},
		{"X-Requested-With", false}, {"X-Cache-Debug", false}, {"If-None-Match", false}, {"Traceparent", false}, {"Dnt", false},
	} {
		sent := http.Header{}
		sent.Set(c.name, "value")
		if got := !names.of(sent, "").anonymous(); got != c.want {
			t.Errorf("%s: tells who asks %v, want %v", c.name, got, c.want)
		}
	}
	for query, want := range map[string]bool{
		"": false, "limit=50": false, "tickers=SPY,QQQ&startDate=2020-01-01": false, "api_key=k": true, "limit=50&apikey=k": true,
		"access_token=k": true, "token=k": true, "a%70i_key=k": true, "key": true, "accessKey=k": true, "api.key=k": true, "monkey=1": false, "%zz=1": false,
	} {
		if got := !names.of(nil, query).anonymous(); got != want {
			t.Errorf("query %q: tells who asks %v, want %v", query, got, want)
		}
	}
}

func TestFieldThatNeverReachesTheServerIsNoCredential(t *testing.T) {
	h := http.Header{"Connection": {"close, Authorization"}, "Authorization": {"Bearer x"}, "Proxy-Authorization": {"Basic y"}}
	if c := newCredentialNames(nil).of(endToEnd(h), ""); !c.anonymous() {
		t.Errorf("credentials %v, want none: the server gets to see none of %v", c, h)
	}
}
