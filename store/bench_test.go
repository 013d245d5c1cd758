package store_test

import (
	"fmt"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

// benchStore holds so many endpoints of a usual size.
func benchStore(b *testing.B, endpoints int) *store.Store {
	b.Helper()
	s := storetest.Open(b)
	for from := 0; from < endpoints; from += 500 {
		var batch []sluice.Resource
		for i := from; i < min(from+500, endpoints); i++ {
			batch = append(batch, benchEndpoint(fmt.Sprintf("endpoint-%05d", i)))
		}
		if _, err := s.Commit(b.Context(), sluice.Change{Put: batch}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	return s
}

func benchEndpoint(name string) *sluice.Endpoint {
	return &sluice.Endpoint{
		Meta:     sluice.Meta{UID: "8f14e45f-ceea-467f-a8d2-0e6f6a1c7b11", Workspace: "default", Name: name, Tags: map[string]string{"team": "vision"}},
		AuthMode: sluice.AuthKey, Traffic: map[string]int{"blue": 90, "green": 10}, State: sluice.StateSucceeded,
	}
}

func BenchmarkCommit(b *testing.B) {
	s := benchStore(b, 1)
	e, err := store.Read[*sluice.Endpoint](b.Context(), s, sluice.EndpointKey("default", "endpoint-00000"))
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		e.Description = fmt.Sprint(i)
		if _, err := s.Commit(b.Context(), sluice.Change{Put: []sluice.Resource{e}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b, 10_000)
	key := sluice.EndpointKey("default", "endpoint-05000")
	for b.Loop() {
		if _, err := s.Get(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads 10 000 endpoints, or the page in their middle.
func BenchmarkList(b *testing.B) {
	for name, limit := range map[string]int{"All": 0, "PageOf100": 100} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b, 10_000)
			q := sluice.Query{Kind: sluice.KindEndpoint, Workspace: "default"}
			if limit > 0 {
				q.Limit = 5000
				page, err := s.List(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				q.Limit, q.After = limit, page.Next
			}
			for b.Loop() {
				if _, err := s.List(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
