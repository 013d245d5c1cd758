package artifact

import (
	"context"
	"sync"
)

// claims lets one caller at a time have each of many things. The zero value is
// ready.
type claims struct {
	mu   sync.Mutex
	held map[string]chan struct{} // guarded by mu; closed when let go
}

// claim waits until nobody else has the thing.
func (c *claims) claim(ctx context.Context, name string) (release func(), err error) {
	for {
		c.mu.Lock()
		taken := c.held[name]
		if taken == nil {
			if c.held == nil {
				c.held = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			c.held[name] = mine
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.held, name)
				c.mu.Unlock()
				close(mine)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
