package artifact_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// lay makes files below a new folder named "model". A path that ends in "/" is
// a folder; content "-> x" makes a link to x.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(full, 0o755)
		case link:
			err = os.Symlink(target, full)
		default:
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func paths(t sluice.Tree) []string {
	var p []string
	for _, f := range t.Files {
		p = append(p, f.Path)
	}
	return p
}

func TestScanFolder(t *testing.T) {
	dir := lay(t, map[string]string{
		"a.txt": "a", "sub/b.txt": "b", "sub/run.sh": "#!", "empty/": "",
		"link": "-> sub/b.txt", "folder": "-> sub",
		".git/config": "x", "__pycache__/a.pyc": "x", "sub/.ipynb_checkpoints/x": "x", ".DS_Store": "x",
	})
	if err := os.Chmod(filepath.Join(dir, "sub/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree, base, open, err := artifact.Scan(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if base != "model" {
		t.Errorf("base is %q", base)
	}
	a, b, sh := sluice.DigestBytes([]byte("a")), sluice.DigestBytes([]byte("b")), sluice.DigestBytes([]byte("#!"))
	want := sluice.Tree{Files: []sluice.TreeFile{
		{Path: "a.txt", Size: 1, Digest: a},
		{Path: "folder/b.txt", Size: 1, Digest: b},
		{Path: "folder/run.sh", Size: 2, Digest: sh, Executable: true},
		{Path: "link", Size: 1, Digest: b},
		{Path: "sub/b.txt", Size: 1, Digest: b},
		{Path: "sub/run.sh", Size: 2, Digest: sh, Executable: true},
	}}
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Error(diff)
	}
	r, err := open("folder/b.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "b" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := open("../model/a.txt"); sluice.ErrorCode(err) != sluice.CodeNotFound {
		t.Errorf("a path that is not in the tree: %v", err)
	}
}

func TestScanTellsHowFarItIs(t *testing.T) {
	dir := lay(t, map[string]string{"a": strings.Repeat("a", 1<<20), "b": strings.Repeat("b", 1<<20), "c": "-> a"})
	var last, calls, total int64
	_, _, _, err := artifact.ScanWith(t.Context(), dir, func(done, all int64) {
		if done < last {
			t.Errorf("it went back from %d to %d", last, done)
		}
		last, total = done, all
		calls++
	})
	if err != nil || last != 3<<20 || total != 3<<20 || calls < 3 {
		t.Errorf("after %d calls it told of %d of %d, %v", calls, last, total, err)
	}
}

func TestScanSingleFile(t *testing.T) {
	dir := lay(t, map[string]string{"m.joblib": "weights", ".gitignore": "*.joblib\n", "link.bin": "-> m.joblib"})
	for _, name := range []string{"m.joblib", "link.bin"} {
		tree, base, _, err := artifact.Scan(t.Context(), filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := sluice.Tree{Files: []sluice.TreeFile{{Path: name, Size: 7, Digest: sluice.DigestBytes([]byte("weights"))}}}
		if diff := cmp.Diff(want, tree); diff != "" || base != "" {
			t.Errorf("base %q %s", base, diff)
		}
	}
}

func TestScanIgnores(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"gitignore": {
			map[string]string{".gitignore": "*.log\n!keep.log\n/data/\n", "a.log": "", "sub/b.log": "", "keep.log": "", "data/x": "", "sub/data/y": ""},
			[]string{".gitignore", "keep.log", "sub/data/y"},
		},
		"amlignore wins": {
			map[string]string{".gitignore": "*.bin\n", ".amlignore": "*.txt\n", "m.bin": "", "n.txt": ""},
			[]string{".amlignore", ".gitignore", "m.bin"},
		},
		"nested": {
			map[string]string{".gitignore": "*.csv\n", "in/.gitignore": "!*.csv\n/x.py\n", "a.csv": "", "in/b.csv": "", "in/x.py": "", "in/d/x.py": ""},
			[]string{".gitignore", "in/.gitignore", "in/b.csv", "in/d/x.py"},
		},
		"an ignored link may lead anywhere": {
			map[string]string{".amlignore": "out\n", "out": "-> /etc/passwd", "a": ""},
			[]string{".amlignore", "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree, _, _, err := artifact.Scan(t.Context(), lay(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, paths(tree)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		names []string
	}{
		"link that leaves":       {map[string]string{"a": "", "sub/out": "-> " + outside}, []string{"sub/out", "leaves the folder", outside}},
		"link up":                {map[string]string{"a": "", "up": "-> .."}, []string{"up", "leaves the folder"}},
		"neighbour alike":        {map[string]string{"a": "", "n": "-> ../model-2"}, []string{"leads nowhere"}},
		"broken link":            {map[string]string{"a": "", "gone": "-> nothing"}, []string{"gone", "leads nowhere"}},
		"loop":                   {map[string]string{"a": "", "sub/loop": "-> ../sub"}, []string{"sub/loop", "lies in"}},
		"link to the folder":     {map[string]string{"a": "", "self": "-> ."}, []string{"self", "lies in"}},
		"empty":                  {map[string]string{"sub/": ""}, []string{"has no files"}},
		"all ignored":            {map[string]string{".gitignore": "*\n"}, []string{"has no files"}},
		"backslash in the name":  {map[string]string{`a\b`: ""}, []string{`backslash`}},
		"name that is not UTF-8": {map[string]string{"a\xff": ""}, []string{"UTF-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := artifact.Scan(t.Context(), lay(t, c.files))
			wantRefused(t, err, c.names...)
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, _, _, err := artifact.Scan(t.Context(), "no/such/folder")
		wantRefused(t, err, "no/such/folder")
		var e *sluice.Error
		if !errors.As(err, &e) || e.Cause == nil || e.Cause.Code != sluice.CauseFileMissing {
			t.Errorf("%v carries no cause", err)
		}
	})
	t.Run("socket", func(t *testing.T) {
		dir := lay(t, map[string]string{"a": ""})
		l, err := net.Listen("unix", filepath.Join(dir, "s.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, _, _, err = artifact.Scan(t.Context(), dir)
		wantRefused(t, err, "s.sock", "a socket")
	})
	t.Run("device", func(t *testing.T) {
		_, _, _, err := artifact.Scan(t.Context(), os.DevNull)
		wantRefused(t, err, os.DevNull, "a device")
	})
	t.Run("link to a device", func(t *testing.T) {
		_, _, _, err := artifact.Scan(t.Context(), lay(t, map[string]string{"a": "", "sub/zero": "-> /dev/zero"}))
		wantRefused(t, err, "sub/zero", "leaves the folder", "/dev/zero")
	})
}

func wantRefused(t *testing.T, err error, names ...string) {
	t.Helper()
	if sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Fatalf("got %v, want it refused", err)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("%q does not say %q", err, n)
		}
	}
}

func TestChangedSinceScan(t *testing.T) {
	for name, after := range map[string]string{"same size": "bbb", "shorter": "b", "longer": "bbbbb"} {
		t.Run(name, func(t *testing.T) {
			dir := lay(t, map[string]string{"f": "aaa"})
			_, _, open, err := artifact.Scan(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte(after), 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := open("f")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			wantRefused(t, err, filepath.Join(dir, "f"), "changed")
		})
	}
}
