// Package vmtest runs programs in a Linux of their own, for tests of what the
// machine at hand has in another form or not at all: Debian's kernel for
// clouds, in a machine that QEMU emulates in software.
//
//	program := vmtest.Compile(t, ".") // the tests of this package
//	output, code := vmtest.Machine{}.Run(t, program, "-test.v")
//
// In the machine there are the program, run as root, and the usual file
// systems of the kernel; there is no shell, no library, and no network but the
// machine's own. It takes some seconds to start, and programs run in it ten
// to twenty times as long as outside.
package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Machine says what a machine is to be like.
type Machine struct {
	Version1 bool              // control groups of version 1 in place of version 2
	Files    map[string]string // further files: absolute path there, path here
	Env      []string          // of the program
	Memory   int               // MiB; 512 if zero
	Kernel   []string          // further parameters of the kernel
	Limit    time.Duration     // of everything; 4 minutes if zero
}

// prefix begins the line that vminit ends with.
const prefix = "vminit: exit "

// Run runs a program, one file without libraries, and returns what it printed
// and its exit code. The test fails when the machine does not come to that.
func (m Machine) Run(t testing.TB, program string, args ...string) (output string, code int) {
	t.Helper()
	qemu, kernel := findQEMU(t), findKernel(t)
	disk := filepath.Join(t.TempDir(), "initramfs")
	if err := m.pack(disk, compileInit(t), program, args); err != nil {
		t.Fatalf("packing a machine: %v", err)
	}
	limit := m.Limit
	if limit == 0 {
		limit = 4 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	memory := m.Memory
	if memory == 0 {
		memory = 512
	}
	// loglevel=1: what the kernel says of each kill would be in the output.
	parameters := append([]string{"console=ttyS0", "loglevel=1", "panic=-1", "random.trust_cpu=on"}, m.Kernel...)
	cmd := exec.CommandContext(ctx, qemu, "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", "max", "-m", strconv.Itoa(memory), "-serial", "stdio",
		"-kernel", kernel, "-initrd", disk, "-append", strings.Join(parameters, " "))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.ReplaceAll(out.String(), "\r\n", "\n")
	output, end, ended := cutLast(text, "\n"+prefix)
	if !ended || err != nil {
		t.Fatalf("the machine did not run to its end (%v, %v):\n%s", err, ctx.Err(), text)
	}
	end, _, _ = strings.Cut(end, "\n") // the kernel has its say after it
	if code, err = strconv.Atoi(end); err != nil {
		t.Fatalf("the machine ended oddly: %v\n%s", err, text)
	}
	return output, code
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// pack writes the file system that the machine starts with.
func (m Machine) pack(to, initProgram, program string, args []string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	spec, err := json.Marshal(struct {
		Args, Env []string
		Version1  bool
	}{append([]string{"/program"}, args...), m.Env, m.Version1})
	if err != nil {
		return err
	}
	a := newArchive(f)
	a.dir("/dev")
	a.console("/dev/console") // or the first process would have no output
	a.file("/init", initProgram)
	a.file("/program", program)
	a.content("/spec.json", spec)
	for there, here := range m.Files {
		a.file(there, here)
	}
	return a.close()
}

// Compile compiles the tests of a package into a program for the machine.
func Compile(t testing.TB, pkg string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "test")
	build(t, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", to, pkg)
	return to
}

func compileInit(t testing.TB) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "init")
	build(t, "build", "-trimpath", "-ldflags=-s -w", "-o", to, "github.com/sluice-ml/sluice/engine/process/vmtest/vminit")
	return to
}

func build(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
