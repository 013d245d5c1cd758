//go:build linux && !amd64

package confine

var olderCalls, olderAbsentCalls []uint32
