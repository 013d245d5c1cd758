// Package environment makes what a script runs in: from a conda file,
// requirements or the name of an image to a Python environment on this
// machine.
//
//	b, err := environment.Open(environment.Config{Dir: dir})
//	env, err := b.Prepare(ctx, environment.Spec{CondaFile: text}, progress)
//
// [Parse] reads a [Spec] into a [Plan] and does nothing else. [Builder.Prepare]
// goes on from there:
//
//	spec ─► plan ─► interpreter ─► lock ─► environment
//	        pure    found once     exact versions, with digests
//
// What a plan resolved to is kept under a hash of everything that could change
// it, so a second Prepare of the same spec starts no process at all. The lock
// names the environment: two specs with one lock share it. However many ask,
// in however many processes, one lock is built once.
//
// # On the disk
//
//	specs/<hash>.json   plan → lock
//	locks/<hash>.txt    the lock
//	envs/<hash>/        the environment; whole when it holds .complete, on the
//	                    disk when it holds .synced, else whole for this run of
//	                    the machine only; its bytecode is there with .compiled
//	built/<hash>/       a wheel that was built from source
//	logs/<hash>.log     what the tools said, of the plan and of the lock
//	tmp/job-<hash>-…/   where one resolution or build works
//	wheels/<hash>/      what pip downloaded to resolve, until the lock is built
//	held/<hash>         locked while a plan is resolved or a lock is built
//	interpreters.json   what each Python found is
//
// An environment is built aside, written for the place that its lock names
// (its scripts carry its path), and renamed there once all of it is written.
// What is left, bringing it to the disk and making its bytecode, is done in the
// background. Whoever builds holds the lock file, and so do the tools, which inherit
// it: while one of them lives, killed builder or not, nobody else touches the
// working folder. The next who holds it clears what was left.
//
// # Code of strangers
//
// Making an environment runs none: only wheels are installed, without starting
// its Python in a way that reads their .pth files. Where source may be built,
// that is done apart from all else; see confinement.
//
// [Builder.Prune] removes environments that nothing needs, under the lock file
// of each. Whoever is given one by Prepare has it noted with [Builder.Hold],
// and it stays for a while.
//
// A Builder may be used from any number of goroutines.
package environment
