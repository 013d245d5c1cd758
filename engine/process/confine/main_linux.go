package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main is the program that becomes a confined command. Only [Start] calls it.
func Main() int {
	// What a thread gives up it gives up alone, and it is this thread that
	// becomes the command.
	runtime.LockOSThread()
	syscall.CloseOnExec(specFD)
	syscall.CloseOnExec(errorFD)
	err := become(os.NewFile(specFD, "spec"))
	said, _ := json.Marshal(failureOf(err))
	if _, err := unix.Write(errorFD, said); err != nil {
		fmt.Fprintf(os.Stderr, "sluice confine: %s\n", said)
	}
	return 1
}

func failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Message: err.Error(), Missing: errors.Is(err, fs.ErrNotExist), Denied: errors.Is(err, fs.ErrPermission)}
}

// become builds the command's world, gives up what it must not have, and
// replaces this process by the command. It returns only when that failed.
func become(spec io.ReadCloser) error {
	text, err := io.ReadAll(spec)
	if err != nil {
		return fmt.Errorf("reading what to start: %w", err)
	}
	spec.Close()
	var s Spec
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading what to start: %w", err)
	}
	if len(s.Command) == 0 {
		return errors.New("reading what to start: there is no command")
	}
	unix.Umask(0o022)
	for _, step := range []func(Spec) error{
		enterGroup, // while the machine's control groups are in sight
		preferToEnd,
		buildWorld,
		limit,
		dropUser,
		checkInterpreter, // as the user it will be
		restrictFiles,
		filterCalls,
	} {
		if err := step(s); err != nil {
			return err
		}
	}
	return exec(s)
}

// enterGroup puts this process into its control group, which in a world is then
// the top of all it sees.
func enterGroup(s Spec) error {
	if s.ControlGroup == nil {
		return nil
	}
	if err := s.ControlGroup.Enter(); err != nil {
		return err
	}
	if s.World != nil {
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("hiding other control groups: %w", err)
		}
	}
	return nil
}

// preferToEnd makes the command the first to go when the whole machine runs
// out of memory: before Sluice and before the machine's own services.
func preferToEnd(Spec) error {
	const late = 500 // of 1000
	// Where it is not allowed to say so, the kernel judges by size alone.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(late)), 0)
	return nil
}

// exec becomes the command.
func exec(s Spec) error {
	if err := unix.Chdir(s.Dir); err != nil {
		return fmt.Errorf("going to its folder %s: %w", s.Dir, err)
	}
	path, err := LookPath(s.Command[0], variable(s.Env, "PATH"), s.Dir)
	if err != nil {
		return err
	}
	// Who sets these two means somebody else's, or is up to no good.
	env := slices.DeleteFunc(slices.Clone(s.Env), func(entry string) bool {
		return strings.HasPrefix(entry, "LISTEN_FDS=") || strings.HasPrefix(entry, "LISTEN_PID=")
	})
	if s.Socket {
		if err := unix.Dup3(socketFD, specFD, 0); err != nil {
			return fmt.Errorf("handing over its socket: %w", err)
		}
		unix.CloseOnExec(socketFD)
		env = append(env, "LISTEN_FDS=1", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	}
	err = syscall.Exec(path, s.Command, env)
	return fmt.Errorf("starting %s in %s: %w", path, s.Dir, err)
}

func variable(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if len(entry) > len(name) && entry[:len(name)] == name && entry[len(name)] == '=' {
			return entry[len(name)+1:]
		}
	}
	return ""
}
