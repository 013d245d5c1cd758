// Package feed carries routes from the server to its gateways and load back:
// both ends of one stream.
//
// The server end:
//
//	s := feed.NewServer(feed.Config{OnLoad: …})
//	s.PublishAll(everything) // once, after a start: opens the stream
//	s.Publish(oneEndpoint)   // on every change
//	err := s.Serve(ctx, listener)
//
// The gateway end:
//
//	err := feed.Follow(ctx, feed.Follower{Dial: …, Snapshot: g.Reset, Update: g.Apply, Load: g.Load, Wake: g.Waiting()})
//
// # The contract
//
// The stream is any reliable ordered byte stream between parties that trust
// one another (a Unix socket that only their user can open). Each side sends
// messages: JSON objects, one a line, of at most 8 MiB, each with one known
// field; unknown fields and messages without a known field are passed over.
//
//		gateway: {"hello":{"version":1,"oldest":1,"name":"local"}}
//		server:  {"hello":{"version":1}}            or {"refuse":"why"} and the end
//		server:  {"routes":{…}} …                   everything there is
//		server:  {"synced":true}                    that was everything
//		server:  {"routes":{…}} …                   changes, for good
//		gateway: {"load":{…}} …                     at any time after its hello
//		both:    {"ping":true}                      when they have been silent for 10 s
//
//	  - The version that is spoken is the smaller of what both know best; it is
//	    refused when one of them no longer knows it.
//	  - Until the server itself knows everything it sends no routes and no
//	    synced, so that a server that is starting empties no gateway.
//	  - An endpoint's routes arrive in the order they were published; some may be
//	    left out when newer ones follow. Nothing is promised between endpoints.
//	    An endpoint that is gone is sent once with "gone", and never again.
//	  - Load is a level: each report replaces the one before. When the stream ends
//	    the gateway's load is unknown.
//	  - A side that hears nothing for 30 s, or cannot send for 10 s, ends the
//	    stream. The gateway then connects again, for ever, with a growing pause of
//	    at most 2 s, and serves with the routes it has.
//
// All exported functions and methods may be called from any number of
// goroutines.
package feed
