package engine

import "context"

// Holder is an optional ability: the engine says what its workloads need of
// this machine's disk. Without it, nothing that could be needed may be removed.
type Holder interface {
	// Holds lists what every workload that is wanted, and every copy that may
	// still run, was started from or will be started from again. What it cannot
	// read is an error, never one less.
	Holds(ctx context.Context) ([]Held, error)
}

// Held is what one workload or copy needs.
type Held struct {
	Workload string
	EnvDir   string   // "" for none
	Trees    []string // digests of its files
}
