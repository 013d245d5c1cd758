//go:build linux && !amd64

package killpoint

// older are those that other machines have beside.
var older = map[int]call{}
