//go:build linux || darwin

package artifact_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sluice-ml/sluice/artifact"
)

// TestScanRefusesSpecialFiles never opens what it refuses: a pipe would block
// it, a device do anything.
func TestScanRefusesSpecialFiles(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		word string
	}{
		"named pipe":       {func(path string) error { return unix.Mkfifo(path, 0o644) }, "a named pipe"},
		"character device": {func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }, "a device"},
		"block device":     {func(path string) error { return unix.Mknod(path, unix.S_IFBLK|0o644, int(unix.Mkdev(7, 99))) }, "a device"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := lay(t, map[string]string{"a": "", "sub/b": "", "link": "-> sub/special"})
			path := filepath.Join(dir, "sub", "special")
			if err := c.make(path); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatalf("CI makes devices: %v", err)
				}
				t.Skip(err)
			}
			for scanned, named := range map[string]string{dir: path, path: path, filepath.Join(dir, "link"): filepath.Join(dir, "link")} {
				_, _, _, err := artifact.Scan(t.Context(), scanned)
				wantRefused(t, err, named, c.word)
			}
			// Ignored, it is of no interest.
			if err := os.WriteFile(filepath.Join(dir, ".amlignore"), []byte("special\nlink\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			tree, _, _, err := artifact.Scan(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{".amlignore", "a", "sub/b"}, paths(tree)); diff != "" {
				t.Error(diff)
			}
		})
	}
	// An ignore file that is a pipe is not read.
	dir := lay(t, map[string]string{"a": ""})
	if err := unix.Mkfifo(filepath.Join(dir, ".amlignore"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := artifact.Scan(t.Context(), dir)
	wantRefused(t, err, ".amlignore", "a named pipe")
}
