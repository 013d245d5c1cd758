package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGPU(t *testing.T) {
	text := "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 120\nGPU UUID: \t GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c\n" +
		"Video BIOS: \t 96.00.30.00.01\nBus Type: \t PCIe\nDMA Size: \t 52 bits\nBus Location: \t 0000:00:1e.0\nDevice Minor: \t 3\nGPU Excluded:\t No\n"
	want := gpu{UUID: "GPU-4cf8db2d-06c0-7d70-1a51-e59b25b2c16c", Device: "/dev/nvidia3"}
	if got := parseGPU(text); got != want {
		t.Errorf("it is %+v, want %+v", got, want)
	}
	if got := parseGPU("nonsense"); got != (gpu{}) {
		t.Errorf("nonsense is %+v", got)
	}
}

func TestAGPUWhoseDriverDoesNotAnswerIsNotHandedOut(t *testing.T) {
	listing := t.TempDir()
	if err := os.Mkdir(filepath.Join(listing, "0000:00:1e.0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(listing, "0000:00:1e.0", "information"), []byte("GPU UUID: GPU-1\nDevice Minor: 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	tool := func(script string) {
		if err := os.WriteFile(filepath.Join(tools, "nvidia-smi"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", tools+":/usr/bin:/bin")
	for script, want := range map[string]string{
		"echo no devices were found; exit 6":       "no devices were found",
		"echo 'GPU 0: H100 (UUID: GPU-2)'":         "GPU-1 is not handed out",
		"echo 'GPU 0: H100 (UUID: GPU-1)'; exit 0": "GPU-1 is not handed out: stat /dev/nvidia0", // no such node here
	} {
		tool(script)
		found, broken := findGPUs(t.Context(), listing)
		if len(found) != 0 || len(broken) != 1 || !strings.Contains(broken[0], want) {
			t.Errorf("%s: %v, %q; want none and %q", script, found, broken, want)
		}
	}
	if found, broken := findGPUs(t.Context(), t.TempDir()); found != nil || broken != nil {
		t.Errorf("a machine without a driver has %v, %q", found, broken)
	}
}

func TestGPUsAreExclusive(t *testing.T) {
	all := []gpu{{"a", "/dev/nvidia0"}, {"b", "/dev/nvidia1"}, {"c", "/dev/nvidia2"}}
	for _, test := range []struct {
		taken string
		want  int
		got   string
		ok    bool
	}{
		{"", 0, "", true},
		{"", 1, "a", true},
		{"a", 1, "b", true},
		{"b", 2, "ac", true},
		{"ab", 2, "c", false},
		{"abc", 1, "", false},
		{"", 8, "abc", true}, // larger than the machine: all of it
		{"c", 8, "ab", false},
	} {
		taken := map[string]bool{}
		for _, uuid := range strings.Split(test.taken, "") {
			taken[uuid] = true
		}
		got, ok := pickGPUs(all, taken, test.want)
		if strings.Join(got, "") != test.got || ok != test.ok {
			t.Errorf("%d GPUs with %q taken: %v, %t", test.want, test.taken, got, ok)
		}
	}
	if got, ok := pickGPUs(nil, nil, 4); got != nil || !ok {
		t.Errorf("on a machine without GPUs: %v, %t", got, ok)
	}
	there := func(path string) bool { return path != "/dev/nvidia-modeset" }
	want := []string{"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1"}
	if diff := cmp.Diff(want, gpuNodes(all, []string{"b"}, there)); diff != "" {
		t.Errorf("its nodes (-want +got):\n%s", diff)
	}
	if got := gpuNodes(all, nil, there); got != nil {
		t.Errorf("without a GPU: %v", got)
	}
}
