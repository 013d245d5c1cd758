package store_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
)

// childURL makes this program, started again by a test, write to the database
// at that URL until it is killed.
const childURL = "SLUICE_STORE_TEST_URL"

// children are what else it then does, by the variable that names the database.
var children = map[string]func(ctx context.Context, path string) error{}

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		fmt.Fprintln(os.Stderr, writeForever(context.Background(), url))
		os.Exit(1)
	}
	for variable, work := range children {
		if path := os.Getenv(variable); path != "" {
			if err := work(context.Background(), path); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// writeForever commits pairs of resources that always agree, and prints the
// number of each change once it was acknowledged.
func writeForever(ctx context.Context, url string) error {
	s, err := store.Open(ctx, url, store.Options{})
	if err != nil {
		return err
	}
	pair, err := readPair(ctx, s)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		text := fmt.Sprintf("%d-%d", os.Getpid(), i)
		extra := &sluice.Operation{Meta: sluice.Meta{Workspace: "default", Name: "op-" + text}}
		change := sluice.Change{Actor: sluice.Actor{Name: text}, Put: []sluice.Resource{extra}}
		for _, e := range pair {
			e.Description = text
			change.Put = append(change.Put, e)
		}
		n, err := s.Commit(ctx, change)
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// readPair gives the two resources, new ones when there are none.
func readPair(ctx context.Context, s *store.Store) ([]*sluice.Endpoint, error) {
	all, err := store.ReadAll[*sluice.Endpoint](ctx, s, sluice.Query{Kind: sluice.KindEndpoint})
	if err != nil || len(all) == 2 {
		return all, err
	}
	if len(all) != 0 {
		return nil, fmt.Errorf("there are %d of the pair", len(all))
	}
	return []*sluice.Endpoint{
		{Meta: sluice.Meta{Workspace: "default", Name: "a"}},
		{Meta: sluice.Meta{Workspace: "default", Name: "b"}},
	}, nil
}
