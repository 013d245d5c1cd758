//go:build unix

package scoring

import (
	"strings"
	"testing"
)

func TestContractCrossOrigin(t *testing.T) {
	const script = `
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
def init(): pass
def run(data):
    if data == "raise": raise ValueError()
    if data == "own": return AMLResponse("x", 200, {"Vary": "Accept", "Access-Control-Allow-Origin": "mine"})
    return data
`
	var all []exchange
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT"} {
		for _, path := range []string{"/", "/score", "/swagger.json", "/nope"} {
			for _, headers := range [][][2]string{
				nil,
				{{"Origin", "http://a.test"}},
				{{"Origin", "HTTP://A.TEST"}},
				{{"Origin", "http://a.test.evil"}},
				{{"Origin", "http://b.test"}, {"Access-Control-Request-Method", "POST"}},
				{{"Origin", "http://b.test"}, {"Access-Control-Request-Method", "get"}, {"Access-Control-Request-Headers", "x-b,Authorization, content-type"}},
				{{"Origin", "http://a.test"}, {"Access-Control-Request-Method", "DELETE"}, {"Access-Control-Request-Headers", "x"}},
				{{"Origin", "http://a.test"}, {"Access-Control-Request-Method", "POS"}, {"Access-Control-Request-Headers", ""}},
				{{"Access-Control-Request-Method", "POST"}, {"Access-Control-Request-Private-Network", "true"}},
				{{"Origin", "http://sub.c.test:80"}, {"Access-Control-Request-Private-Network", "true"}},
				{{"Origin", "null"}},
				{{"Origin", "http://a.test"}, {"Origin", "http://b.test"}},
				{{"Origin", "http://a.test"}, {"x-request-id", strings.Repeat("i", 101)}},
			} {
				all = append(all, exchange{method: method, path: path, headers: headers})
			}
		}
	}
	for _, body := range []string{"raise", "own", "x"} {
		all = append(all, exchange{method: "POST", path: "/score", body: body, headers: [][2]string{{"Origin", "http://a.test"}, {"Content-Type", "text/plain"}}})
	}
	for _, origins := range []string{"*", "http://a.test", "http://b.test, http://a.test", `https?://(.*\.)?c\.test, http://a.test`, `^http://b\.test$`, "http://a.test,", " * ,http://a.test", "not.an.origin"} {
		t.Run(origins, func(t *testing.T) {
			env := []string{"AML_CORS_ORIGINS=" + origins}
			original := startOriginal(t, script, env...)
			ours := startWith(t, script, env)
			compareWith(t, original, ours, all, nil)
			ours.logs(`azmlinfsrv - Enabling CORS for the following origins: `)
		})
	}
}
