package main

import (
	"context"
	"path/filepath"
	"time"
)

// idle is how long after the start memory is read.
const idle = 30 * time.Second

// memoryRows gives what all our processes hold when nothing happens, and what
// they hold with one deployment that waits: Python excluded, both times.
func memoryRows(ctx context.Context, bin string) ([]row, error) {
	s, err := startStack(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	empty, err := memoryAfter(ctx, s.bin, idle)
	if err != nil {
		return nil, err
	}
	if err := s.scoreNothing(ctx); err != nil {
		return nil, err
	}
	one, err := memoryAfter(ctx, s.bin, idle)
	if err != nil {
		return nil, err
	}
	return []row{
		{"idle memory, no deployment (bar: 80)", empty, 0, "MB PSS"},
		{"idle memory, one deployment, Python excluded (bar: 80)", one, 0, "MB PSS"},
	}, nil
}

func memoryAfter(ctx context.Context, bin string, wait time.Duration) (float64, error) {
	progress("waiting %s for memory to settle", wait)
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	var total int64
	for _, program := range []string{"sluice", "sluice-runner"} {
		pids, err := running(filepath.Join(bin, program))
		if err != nil {
			return 0, err
		}
		for _, pid := range pids {
			n, err := pss(pid)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return float64(total) / 1e6, nil
}
