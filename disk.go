package sluice

import "fmt"

// DiskUse is what Sluice keeps on the disk of its machine, and the room it has.
// All sizes are bytes.
type DiskUse struct {
	Artifacts    int64 `json:"artifacts"`      // uploaded files
	Environments int64 `json:"environments"`   // Python environments and the logs of their builds
	Budget       int64 `json:"budget"`         // what both may take together; 0 for no limit
	Warn         int   `json:"warn"`           // the share of the budget at which to warn, in percent
	Free         int64 `json:"free"`           // what may still be written to the disk
	Size         int64 `json:"size,omitempty"` // of the disk; 0 when not known
	// Refuses says why the disk takes no writes; "" when it does, or when
	// nobody tried.
	Refuses string `json:"refuses,omitempty"`
}

// Used gives what all of it takes.
func (u DiskUse) Used() int64 { return u.Artifacts + u.Environments }

// Reserve is what is left free of a disk of this size, so that Sluice's own
// state can be written whatever users upload.
func Reserve(size int64) int64 { return min(size/100, 256<<20) }

// Fits reports whether that many bytes more fit the budget and the disk.
func (u DiskUse) Fits(bytes int64) bool {
	return (u.Budget == 0 || bytes <= u.Budget-u.Used()) && (u.Size == 0 || bytes <= u.Free-Reserve(u.Size))
}

// nearlyFull is what is left of a disk when it is time to say so: five percent,
// or 2 GiB where that is less.
func nearlyFull(size int64) int64 { return min(size/20, 2<<30) }

// Warning gives a sentence when the disk takes no writes, or the budget or the
// disk is nearly used up, else "".
func (u DiskUse) Warning() string {
	switch used := u.Used(); {
	case u.Refuses != "":
		return u.Refuses
	case u.Budget > 0 && used >= u.Budget:
		return fmt.Sprintf("models and environments take %s, and disk.budget allows %s", FormatBytes(used), FormatBytes(u.Budget))
	case u.Budget > 0 && float64(used) >= float64(u.Budget)*float64(u.Warn)/100:
		return fmt.Sprintf("models and environments take %s of the %s that disk.budget allows (%d %%)",
			FormatBytes(used), FormatBytes(u.Budget), int64(100*float64(used)/float64(u.Budget)))
	case u.Size > 0 && u.Free < nearlyFull(u.Size):
		return fmt.Sprintf("the disk is nearly full: %s of %s are free", FormatBytes(u.Free), FormatBytes(u.Size))
	}
	return ""
}

// Pruned is what was removed from the disk because nothing needs it, or would
// be.
type Pruned struct {
	DryRun       bool  `json:"dryRun"`
	Files        int   `json:"files"`        // uploaded files
	Uploads      int   `json:"uploads"`      // interrupted ones
	Environments int   `json:"environments"` // Python environments
	Logs         int   `json:"logs"`         // of their builds
	Bytes        int64 `json:"bytes"`        // that came free
	// LaterBytes is what nothing needs either, and was used too recently: an
	// upload may be under way that counts on it.
	LaterBytes int64 `json:"laterBytes"`
}

// FormatBytes gives a size as people read it: 512 B, 1.5 GiB.
func FormatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < 4 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit])
}
