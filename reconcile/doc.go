// Package reconcile makes what runs equal to what users asked for.
//
// It is level-based: each pass of [Loop.Run] reads the desired state from the
// store and the observed state from the engine, works out the difference with
// the pure function [plan], and acts on it. Nothing it remembers matters for
// being right: it may be killed at any moment, and the next one goes on.
//
// A deployment's life, with the operation that reports on it:
//
//	created ─► environment prepared ─► workload ensured ─► instances ready ─► Succeeded
//	                │                        │
//	                └── cause ───────────────┴── cause ──► Failed (what served before serves on)
//
// One workload is run per revision. An update runs two for a while and moves
// replicas from the old one to the new one as the new ones become ready.
package reconcile
