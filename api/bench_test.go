package api_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/sluice-ml/sluice"
)

// One page of the list of 10 000 endpoints, and reading one of them.
func BenchmarkEndpoints(b *testing.B) {
	w := newWorld(b)
	const batch = 500
	for first := 0; first < 10_000; first += batch {
		var put []sluice.Resource
		for i := first; i < first+batch; i++ {
			put = append(put, &sluice.Endpoint{Meta: sluice.Meta{UID: fmt.Sprint(i), Workspace: "default", Name: fmt.Sprintf("ep%05d", i)},
				AuthMode: sluice.AuthKey, State: sluice.StateSucceeded})
		}
		w.put(put...)
	}
	for name, path := range map[string]string{"list": "/onlineEndpoints", "get": "/onlineEndpoints/ep05000"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("GET", ws+path+version, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				answer := httptest.NewRecorder()
				w.server.Config.Handler.ServeHTTP(answer, r)
				if answer.Code != 200 {
					b.Fatal(answer.Body)
				}
			}
		})
	}
}
