package arm

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-ml/sluice"
)

// waitPerPoll is how long the server is asked to hold a poll open. An
// unreachable server is asked again for patience, in steps of retryPause.
const (
	waitPerPoll = 20 * time.Second
	patience    = 30 * time.Second
	retryPause  = 250 * time.Millisecond
)

// Poller follows one operation. One goroutine may use it at a time.
type Poller struct {
	client *Client
	url    string // "" when there is nothing to wait for
}

// pollerOf gives the poller of the operation that an answer names.
func (c *Client) pollerOf(resp *http.Response) *Poller {
	return &Poller{client: c, url: resp.Header.Get("Azure-AsyncOperation")}
}

// Follow gives a poller for an operation by its address.
func (c *Client) Follow(operationURL string) *Poller { return &Poller{client: c, url: operationURL} }

// Wait follows the operation to its end and calls seen, which may be nil, with
// every new state of it. The error is why the operation did not succeed, with
// its cause, or why it could not be followed: then the operation goes on.
func (p *Poller) Wait(ctx context.Context, seen func(Operation)) error {
	if p.url == "" {
		return nil
	}
	u, err := p.client.here(p.url)
	if err != nil {
		return err
	}
	// The first answer comes at once, so that there is something to show.
	wait := time.Duration(0)
	var trouble time.Time
	for {
		var op Operation
		header := http.Header{"Prefer": {"wait=" + strconv.Itoa(int(wait.Seconds()))}}
		resp, err := p.client.send(ctx, request{method: http.MethodGet, url: u, header: header}, &op)
		switch {
		case sluice.ErrorCode(err) == sluice.CodeUnavailable && ctx.Err() == nil:
			// The server may be starting again: operations survive that.
			if trouble.IsZero() {
				trouble = time.Now()
			}
			if time.Since(trouble) > patience {
				return err
			}
			if err := pause(ctx, retryPause); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		trouble = time.Time{}
		if seen != nil {
			seen(op)
		}
		if op.Done() {
			return op.Err()
		}
		if wait > 0 && resp.Header.Get("Preference-Applied") == "" {
			if err := pause(ctx, retryAfter(resp)); err != nil {
				return err
			}
		}
		wait = waitPerPoll
	}
}

// retryAfter is for servers that do not hold a poll open.
func retryAfter(resp *http.Response) time.Duration {
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n < 120 {
		return time.Duration(n) * time.Second
	}
	return time.Second
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
