package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"time"
)

// startupRuns is how often a command is started; the median counts.
const startupRuns = 30

// startupRows gives how long commands take that talk to nobody: start-up is
// what every command pays.
func startupRows(ctx context.Context, bin string) ([]row, error) {
	var rows []row
	for _, args := range [][]string{{"version"}, {"online-endpoint", "create", "--help"}} {
		var times []float64
		for range startupRuns {
			began := time.Now()
			if err := exec.CommandContext(ctx, filepath.Join(bin, "sluice"), args...).Run(); err != nil {
				return nil, err
			}
			times = append(times, time.Since(began).Seconds()*1000)
		}
		rows = append(rows, row{"start-up of `sluice " + args[0] + "` (bar: 50)", median(times), 0, "ms"})
	}
	return rows, nil
}
