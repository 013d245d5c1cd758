package main

import (
	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/output"
)

func diskDoc(u sluice.DiskUse) output.Map {
	return output.Map{
		{Key: "used", Value: u.Used()}, {Key: "artifacts", Value: u.Artifacts}, {Key: "environments", Value: u.Environments},
		{Key: "budget", Value: u.Budget}, {Key: "free", Value: u.Free},
	}
}

// diskWarning gives what to tell of the disk, "" for nothing.
func diskWarning(u *sluice.DiskUse) string {
	if u == nil || u.Warning() == "" {
		return ""
	}
	if u.Refuses != "" {
		return u.Refuses
	}
	return u.Warning() + ": `sluice prune` removes what nothing needs"
}
