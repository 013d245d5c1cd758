// Package sluice is the domain of Sluice: managed model endpoints that anyone
// can run.
//
// It holds the nouns every other package speaks (Endpoint, Deployment,
// Revision, Scale, Model, Environment, Code, Operation, Cause, Routes, Load),
// their validation and their state machines. It does no I/O and starts no
// goroutine; every function in it is pure, so it may be called from anywhere,
// at any time, from any number of goroutines.
//
// Everything that is kept is a [Resource]: a value with a [Meta] and a [Key].
// Changes to resources travel as one atomic, optimistic [Change]; how they are
// stored is the business of package store.
package sluice
