package sluice

import "time"

// Routes is everything the gateway needs to serve one endpoint. It is
// immutable once published: a change is a new value with a higher version.
// It carries digests, never keys.
type Routes struct {
	Workspace   string     `json:"workspace"`
	Endpoint    string     `json:"endpoint"`
	UID         string     `json:"uid"`     // the endpoint's; a name used again is another endpoint
	Version     int64      `json:"version"` // grows with every change of this endpoint's routes
	AuthMode    AuthMode   `json:"authMode"`
	Keys        KeyDigests `json:"keys"`
	Deployments []Target   `json:"deployments"`
	// Gone says that the endpoint is no more. Such routes are published once.
	Gone bool `json:"gone,omitempty"`
}

// Target is one deployment as the gateway sees it.
type Target struct {
	Name          string        `json:"name"`
	Weight        int           `json:"weight"` // percent of live traffic
	Mirror        int           `json:"mirror,omitempty"`
	Timeout       time.Duration `json:"timeout"`       // total, per request
	MaxConcurrent int           `json:"maxConcurrent"` // per instance
	ScoringPath   string        `json:"scoringPath"`   // what is advertised, e.g. "/score"
	Backends      []Backend     `json:"backends"`
	// Instances is how many there should be. With the ready ones, if they are
	// more, it makes the admission limit.
	Instances int `json:"instances,omitempty"`
	// Note says in one sentence why there is no ready backend, when there is
	// none: what a 424 tells the caller.
	Note string `json:"note,omitempty"`
}

// Backend is one instance as the gateway sees it. Only ready ones and those
// still draining are listed; a draining one takes no new request.
type Backend struct {
	ID       string `json:"id"`
	Address  string `json:"address"` // "unix:///…" or "http://ip:port"
	Draining bool   `json:"draining,omitempty"`
}

// Load is what one gateway reports about the traffic it carries.
type Load struct {
	Gateway   string         `json:"gateway"`
	At        time.Time      `json:"at"`
	Endpoints []EndpointLoad `json:"endpoints,omitempty"`
}

// EndpointLoad is the load on one endpoint's deployments.
type EndpointLoad struct {
	Workspace   string           `json:"workspace"`
	Endpoint    string           `json:"endpoint"`
	Deployments []DeploymentLoad `json:"deployments"`
}

// DeploymentLoad is the load on one deployment: a count now, and totals since
// the gateway started.
type DeploymentLoad struct {
	Name     string   `json:"name"`
	Waiting  int      `json:"waiting"`
	InFlight int      `json:"inFlight"`
	Requests int64    `json:"requests"`
	Bad      []string `json:"bad,omitempty"` // IDs of instances set aside
}
