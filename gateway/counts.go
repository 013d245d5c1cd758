package gateway

import (
	"sync/atomic"
	"time"
)

// counted are the statuses that are told apart; every 2xx counts as 200, and
// what is not among them as 500.
var counted = [...]int{101, statusOK, statusBadRequest, statusUnauthorized, statusNotFound, statusTimeout,
	statusTooLarge, statusFailedDependency, statusTooMany, statusClientGone, statusInternal}

// counts are totals since the gateway started.
type counts struct {
	byStatus [len(counted)]atomic.Int64
	micros   atomic.Int64 // summed over all requests
	last     atomic.Int64 // when the last one ended, in Unix seconds
}

func (c *counts) add(status int, took time.Duration, now time.Time) {
	c.byStatus[indexOf(status)].Add(1)
	c.micros.Add(took.Microseconds())
	if s := now.Unix(); c.last.Load() != s {
		c.last.Store(s)
	}
}

func (c *counts) total() (n int64) {
	for i := range c.byStatus {
		n += c.byStatus[i].Load()
	}
	return n
}

func indexOf(status int) int {
	if status >= 200 && status < 300 {
		status = statusOK
	}
	for i, s := range counted {
		if s == status {
			return i
		}
	}
	return len(counted) - 1
}
