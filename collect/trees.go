package collect

import (
	"context"
	"maps"
	"slices"
)

// Trees gives the digests of the trees that what a store holds needs, sorted: of
// a copy of a store, for which nothing runs.
func Trees(ctx context.Context, s Store) ([]string, error) {
	all, err := stored(ctx, s)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(needs(all).trees)), nil
}
