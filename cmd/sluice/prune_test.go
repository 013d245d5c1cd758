package main

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestWouldRemove(t *testing.T) {
	for would, want := range map[sluice.Pruned]string{
		{}:                    "nothing can be removed: all that is there is needed",
		{LaterBytes: 1 << 20}: "nothing can be removed yet (1.0 MiB more that nothing needs was used in the last hour and a half, and stays for now)",
		{Files: 2, Environments: 1, Bytes: 3 << 30}:     "3.0 GiB would be freed: 2 uploaded files, 1 environment",
		{Uploads: 1, Logs: 1, Bytes: 10, LaterBytes: 5}: "10 B would be freed: 1 interrupted upload, 1 log of a build (5 B more that nothing needs was used in the last hour and a half, and stays for now)",
	} {
		if got := wouldRemove(would); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
