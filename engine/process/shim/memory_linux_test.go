package shim

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain plays programs that hold memory until their input ends.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[0] == "holder" {
		os.Exit(hold(os.Args[1]))
	}
	os.Exit(m.Run())
}

const held64 = 64 << 20

func hold(how string) int {
	switch how {
	case "memory":
		data, err := unix.Mmap(-1, 0, held64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		if err != nil || len(data) == 0 {
			return 1
		}
	case "a file in memory":
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil || unix.Fallocate(fd, 0, 0, held64) != nil {
			return 1
		}
	}
	fmt.Println("held")
	os.Stdin.Read(make([]byte, 1))
	return 0
}

// holder starts such a program and gives its process ID.
func holder(t *testing.T, how string) int {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"holder", how}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	return cmd.Process.Pid
}

// Memory counts however it is held, a file in memory that nobody has mapped too.
func TestHeldCountsAllMemory(t *testing.T) {
	idle := holder(t, "nothing")
	base, threads := held([]int{idle}, nil, 0)
	if threads < 1 || threads > 100 || base <= 0 {
		t.Fatalf("an idle process holds %d bytes in %d threads", base, threads)
	}
	for _, how := range []string{"memory", "a file in memory"} {
		pid := holder(t, how)
		for _, bound := range []int64{0, 1} { // quickly and closely
			got, _ := held([]int{pid}, nil, bound)
			if over := got - base; over < held64-(8<<20) || over > held64+(32<<20) {
				t.Errorf("64 MiB of %s are counted as %d MiB more than nothing, with a bound of %d", how, over>>20, bound)
			}
		}
	}
	if memory, threads := held([]int{1 << 30}, nil, 0); memory != 0 || threads != 0 {
		t.Errorf("a process that is gone holds %d bytes in %d threads", memory, threads)
	}
}
