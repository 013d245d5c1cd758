package store

import (
	"context"
	"time"
)

// pollEvery bounds how late a change made by another process is noticed when
// no notification comes.
const pollEvery = time.Second / 2

// Latest gives the number of the last change, 0 when there has been none.
func (s *Store) Latest(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.read.QueryRowContext(ctx, `SELECT value FROM counter WHERE id = 1`).Scan(&n)
	if err != nil {
		return 0, s.failed(ctx, err, "reading the change number")
	}
	return n, nil
}

// Wait returns the latest change number as soon as it is greater than after:
// at once if it is already, right after a commit by this process, and within a
// second after one by another. It returns ctx.Err() when ctx ends first.
func (s *Store) Wait(ctx context.Context, after int64) (int64, error) {
	s.join(1)
	defer s.join(-1)
	// Another process may have committed while nobody here was waiting.
	if n, _ := s.seen(); n <= after {
		if err := s.refresh(ctx); err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, err
		}
	}
	for {
		n, changed := s.seen()
		if n > after {
			return n, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.done.Done():
			return 0, context.Cause(s.done)
		}
	}
}

func (s *Store) join(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
}

// seen gives the newest change heard of, and a channel that closes when there
// is a newer one.
func (s *Store) seen() (int64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, s.changed
}

// wake tells the waiters of change n. Two commits may get here in either
// order; only the greater number counts.
func (s *Store) wake(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= s.latest {
		return
	}
	s.latest = n
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) refresh(ctx context.Context) error {
	n, err := s.Latest(ctx)
	if err == nil {
		s.wake(n)
	}
	return err
}

// poll looks for changes by other processes while somebody waits.
func (s *Store) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	healthy := true
	for {
		select {
		case <-s.done.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		idle := s.waiting == 0
		s.mu.Unlock()
		if idle {
			continue
		}
		err := s.refresh(s.done)
		if err != nil && healthy && s.done.Err() == nil {
			s.log.Warn("store cannot be asked for changes", "err", err)
		}
		healthy = err == nil
	}
}

// listen waits for other servers' notifications and reconnects when they stop.
// While it cannot, poll does the work, only later.
func (s *Store) listen() {
	for {
		err := s.db.listen(s.done, func() {
			if err := s.refresh(s.done); err != nil && s.done.Err() == nil {
				s.log.Warn("store cannot be asked for changes", "err", err)
			}
		})
		if s.done.Err() != nil {
			return
		}
		s.log.Warn("store notifications stopped", "err", err)
		select {
		case <-s.done.Done():
			return
		case <-time.After(5 * time.Second):
		}
	}
}
