package vmtest_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/engine/process/vmtest"
)

// TestMain plays the program in the machine, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "inside" {
		os.Exit(inside(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// inside says what there is.
func inside(args []string) int {
	fmt.Printf("args %q\nvariable %q\nuser %d\n", args, os.Getenv("GREETING"), os.Getuid())
	text, err := os.ReadFile("/data/deep/file")
	fmt.Printf("file %q %v\n", text, err)
	info, err := os.Stat("/data/deep/tool")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("tool", info.Mode(), info.Size())
	parameters, err := os.ReadFile("/proc/cmdline")
	fmt.Println("extra", strings.Contains(string(parameters), "sluice.extra=1"), err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer l.Close()
	_, err = net.Dial("tcp", l.Addr().String())
	fmt.Println("loopback", err)
	fmt.Fprintln(os.Stderr, "vminit: exit 0") // which is not the end
	return 3
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("x", 100_001)
	for name, f := range map[string]struct {
		text string
		mode fs.FileMode
	}{"file": {"a\x00b", 0o644}, "tool": {big, 0o755}} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	got, code := vmtest.Machine{
		Files:  map[string]string{"/data/deep/file": filepath.Join(dir, "file"), "/data/deep/tool": filepath.Join(dir, "tool")},
		Env:    []string{"GREETING=good day"},
		Kernel: []string{"sluice.extra=1"},
		Memory: 256,
	}.Run(t, vmtest.Compile(t, "."), "inside", "a b", `"`)
	want := `args ["a b" "\""]
variable "good day"
user 0
file "a\x00b" <nil>
tool -rwxr-xr-x 100001
extra true <nil>
loopback <nil>
vminit: exit 0
`
	if !strings.HasSuffix(got, want) || code != 3 {
		t.Errorf("exit code %d, output %q, want %q", code, got, want)
	}
}
