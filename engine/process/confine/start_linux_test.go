package confine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain plays two more programs: the one that becomes a command, and the
// command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Command:
			os.Exit(Main())
		case "--tell":
			os.Exit(tellAll())
		}
	}
	os.Exit(m.Run())
}

// tellAll is a command that tells what it finds.
func tellAll() int {
	for _, what := range os.Args[2:] {
		verb, path, _ := strings.Cut(what, ":")
		switch verb {
		case "list":
			entries, err := os.ReadDir(path)
			for _, e := range entries {
				fmt.Println(e.Name())
			}
			fmt.Println(err)
		case "read":
			text, err := os.ReadFile(path)
			fmt.Printf("%s %v\n", text, err)
		case "env":
			fmt.Println(os.Getenv(path))
		case "id":
			fmt.Println(os.Getuid(), os.Getgid())
		case "listening":
			l, err := net.FileListener(os.NewFile(3, "socket"))
			fmt.Println(l != nil, err)
		case "files":
			for fd := range 100 {
				var st unix.Stat_t
				if unix.Fstat(fd, &st) == nil && fd > 2 {
					fmt.Print(fd, " ")
				}
			}
			fmt.Println()
		case "calls":
			for _, call := range refusedCalls {
				if _, _, e := unix.RawSyscall6(uintptr(call), 0, 0, 0, 0, 0, 0); e != unix.EPERM {
					fmt.Printf("call %d: %v\n", call, e)
				}
			}
		}
	}
	return 0
}

const user = 0x6fff0002

// worldOf is a world in which the command tells.
func worldOf(t *testing.T, what ...string) Spec {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("worlds are built by root, and CI is not")
		}
		t.Skip("worlds are built by root")
	}
	dir := t.TempDir()
	scratch := filepath.Join(dir, "scratch")
	for _, name := range []string{"at", "scratch", "scratch/tmp", "scratch/shm"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755), os.Lchown(filepath.Join(dir, name), user, user)); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Command: append([]string{self, "--tell"}, what...), Dir: "/", User: user, Group: user, Files: 100,
		World: &World{At: filepath.Join(dir, "at"), Hostname: "h", Scratch: scratch, Run: "/run/sluice", Visible: []string{self}}}
}

// told starts a command and gives what it told.
func told(t *testing.T, s Spec, socket *os.File) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid, err := Start(s, w, socket)
	w.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	reap(pid)
	return string(text), err
}

func TestRefusedCallsAreRefusedHere(t *testing.T) {
	got, err := told(t, worldOf(t, "calls"), nil)
	if err != nil || got != "" {
		t.Errorf("refused are not: %s%v", got, err)
	}
}

func TestCommandHasNothingOfOurs(t *testing.T) {
	secret, err := os.Open(os.Args[0]) // what a careless caller has open
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	got, err := told(t, worldOf(t, "id", "files", "list:/", "list:/dev"), nil)
	// 3 is what a Go program waits on by itself, if at all.
	if err != nil || !strings.HasPrefix(got, fmt.Sprintln(user, user)) {
		t.Fatalf("it told %q, %v", got, err)
	}
	lines := strings.Split(got, "\n")
	if strings.Contains(lines[1], "6") {
		t.Errorf("it has descriptors %s", lines[1])
	}
	for _, name := range []string{"root", "home", "boot", "srv"} {
		if slices.Contains(lines, name) {
			t.Errorf("it sees /%s", name)
		}
	}
}

// The interpreter of an environment stands behind links of every kind.
func TestWorldFollowsLinks(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{t.TempDir(), mustMkdir(t, "/var/tmp"), mustMkdir(t, "/opt")} {
		t.Run(base, func(t *testing.T) {
			at := func(name string) string { return filepath.Join(base, "with blanks\nand more", name) }
			for _, name := range []string{"prefix/bin", "prefix/lib", "env/bin", "env/deeply/nested", "links"} {
				if err := os.MkdirAll(at(name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for name, target := range map[string]string{
				"env/bin/python":  "python3",              // beside it
				"env/bin/python3": "../../links/relative", // up and over
				"links/relative":  at("links/absolute"),
				"links/absolute":  at("links/folder/python3.99"),
				"links/folder":    "../prefix/bin", // a folder that is a link
				"prefix/lib/loop": "loop",
			} {
				if err := os.Symlink(target, at(name)); err != nil {
					t.Fatal(err)
				}
			}
			err := errors.Join(os.WriteFile(at("prefix/bin/python3.99"), program, 0o755), os.WriteFile(at("prefix/lib/os.py"), []byte("os"), 0o644),
				os.WriteFile(at("prefix/secret"), nil, 0o644), os.WriteFile(at("env/deeply/nested/file"), []byte("nested"), 0o644))
			if err != nil {
				t.Fatal(err)
			}
			s := worldOf(t, "list:"+at("prefix"), "read:"+at("env/deeply/nested/file"), "read:"+at("prefix/lib/os.py"), "list:"+base)
			s.World.Visible = append(s.World.Visible, at("env"))
			s.World.Interpreters = []string{at("env/bin/python")}
			s.Interpreter = at("env/bin/python")
			s.Command[0] = s.Interpreter
			got, err := told(t, s, nil)
			want := "bin\nlib\n<nil>\nnested <nil>\nos <nil>\nwith blanks\nand more\n<nil>\n"
			if err != nil || got != want {
				t.Errorf("it told %q, want %q, %v", got, want, err)
			}
		})
	}
}

func mustMkdir(t *testing.T, in string) string {
	t.Helper()
	dir, err := os.MkdirTemp(in, "sluice test ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestUnreadableInterpreterIsNamed(t *testing.T) {
	base := mustMkdir(t, "/opt")
	python := filepath.Join(base, "prefix", "bin", "python3.99")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(python), 0o755), os.WriteFile(python, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, mode string }{{filepath.Dir(python), "0700"}, {python, "0750"}} {
		var mode uint32
		fmt.Sscanf(tt.mode, "%o", &mode)
		if err := os.Chmod(tt.path, os.FileMode(mode)); err != nil {
			t.Fatal(err)
		}
		s := worldOf(t)
		s.World.Interpreters, s.Interpreter = []string{python}, python
		_, err := told(t, s, nil)
		var f *Failure
		if !errors.As(err, &f) || !f.Denied || !strings.Contains(f.Message, tt.path+" has mode "+tt.mode) || !strings.Contains(f.Message, "chmod a+rX "+tt.path) {
			t.Errorf("of %s the failure is %+v", tt.path, err)
		}
		if err := os.Chmod(tt.path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*Spec)
		missing bool
		want    string
	}{
		"no command":          {func(s *Spec) { s.Command = nil }, false, "there is no command"},
		"no such program":     {func(s *Spec) { s.Command[0] = "/nonexistent/tool" }, true, "starting /nonexistent/tool"},
		"not on the path":     {func(s *Spec) { s.Command[0], s.Env = "tool", []string{"PATH=/usr/bin"} }, true, "in no directory of the PATH \"/usr/bin\""},
		"no such folder":      {func(s *Spec) { s.Dir = "/nonexistent" }, true, "going to its folder /nonexistent"},
		"no interpreter":      {func(s *Spec) { s.Interpreter = "/nonexistent/python" }, true, "/nonexistent/python is not there any more"},
		"nothing to bind":     {func(s *Spec) { s.World.Binds = []Bind{{From: "/nonexistent", To: "/x"}} }, true, "/nonexistent"},
		"a file of a folder":  {func(s *Spec) { s.World.Binds = []Bind{{From: "/etc/hostname", To: "/bin/x"}} }, false, "cannot be placed"},
		"nowhere to build it": {func(s *Spec) { s.World.At = "/nonexistent" }, true, "mounting its root"},
	} {
		t.Run(name, func(t *testing.T) {
			s := worldOf(t, "id")
			tt.change(&s)
			got, err := told(t, s, nil)
			var f *Failure
			if !errors.As(err, &f) || f.Missing != tt.missing || !strings.Contains(f.Message, tt.want) {
				t.Errorf("it told %q and failed with %+v, want %q", got, err, tt.want)
			}
		})
	}
}

// What a deployment sets in its environment is the command's alone, and the
// socket is handed over whatever it says.
func TestEnvironmentIsTheCommandsAlone(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	s := worldOf(t, "listening", "env:LISTEN_FDS", "env:SECRET", "files")
	s.Env = []string{"GODEBUG=inittrace=1", "LD_PRELOAD=/x.so", "LISTEN_FDS=7", "LISTEN_PID=1", "SECRET=s3cr3t", "GORACE=atexit_sleep_ms=0"}
	got, err := told(t, s, socket)
	if err != nil || !strings.Contains(got, "true <nil>\n1\ns3cr3t\n") {
		t.Errorf("it told %q, %v", got, err)
	}
}

// Signals to everybody reach what was started since, whichever thread sends
// them, and nobody else.
func TestKeepSignals(t *testing.T) {
	if LandlockABI() < LandlockScopes {
		if err := KeepSignals(); err == nil {
			t.Error("signals are kept by a kernel that cannot")
		}
		return
	}
	done := make(chan error)
	go func() { // on a thread that ends with it
		done <- func() error {
			if err := KeepSignals(); err != nil {
				return err
			}
			if err := syscall.Kill(1, 0); err != syscall.EPERM {
				return fmt.Errorf("a signal to the first process: %v", err)
			}
			pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "100"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
			if err != nil {
				return err
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("a signal to its own: %v", err)
			}
			reap(pid)
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(os.Getppid(), 0); err != nil {
		t.Errorf("another thread cannot send signals: %v", err)
	}
}
