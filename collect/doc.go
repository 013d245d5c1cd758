// Package collect keeps Sluice within the room it has on its machine's disk.
//
//	c := collect.New(collect.Config{Store: db, Artifacts: blobs, Environments: envs, Engine: engine, …})
//	go c.Run(ctx)
//
// It knows what is needed: [needs] reads it off the registered versions, the
// revisions that can still run or serve, and what the engine holds. The rest
// may go, once nobody has used it for a while; the artifact store and the
// builder of environments see to that themselves. Nothing goes while there is
// room, but what is left of interrupted uploads after a day: an environment
// that is kept is one that need not be built again.
//
// [Collector.Admit] is asked before anything is written for a user, and
// [Collector.Prepare] stands around the making of an environment. What would
// go beyond the budget, or fill the disk, first has what nothing needs
// collected, and is then refused with a cause that says who takes what.
//
// How much is used is counted when it starts, every hour and after whatever
// may have changed it much; uploads are added as they come. All methods may be
// called from any number of goroutines.
package collect
