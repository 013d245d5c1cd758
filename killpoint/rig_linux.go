package killpoint

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Fault is what becomes of a call.
type Fault struct {
	errno syscall.Errno
	torn  bool
}

// Kill ends the program before the call.
var Kill = Fault{}

// Torn ends the program in the middle of a write; before any other call.
var Torn = Fault{torn: true}

// Fail has the call fail, without effect.
func Fail(errno syscall.Errno) Fault { return Fault{errno: errno} }

// String says what the fault does.
func (f Fault) String() string {
	switch {
	case f.torn:
		return "killed in the middle of it"
	case f.errno == 0:
		return "killed before it"
	}
	return unix.ErrnoName(f.errno)
}

// Rig watches programs that work below one folder.
type Rig struct {
	t    testing.TB
	root string
	wg   sync.WaitGroup
	stop int // an event that ends the watching

	mu     sync.Mutex // guards what follows
	points []Point    // in the order in which they came
	counts map[Call]int
	armed  []arm
	hits   []Point
	broken error // why the rig itself is of no use
	shadow *shadow
}

// arm is a fault that waits for its call.
type arm struct {
	at    func(Point) bool
	fault Fault
	once  bool
}

// New makes a rig for what happens below root until the test ends. The programs
// must have ended by then.
func New(t testing.TB, root string) *Rig {
	t.Helper()
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	r := &Rig{t: t, root: root, stop: stop, counts: map[Call]int{}}
	t.Cleanup(func() {
		if _, err := unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Error(err)
		}
		r.wg.Wait()
		unix.Close(stop)
		if r.broken != nil {
			t.Errorf("watching system calls: %v", r.broken)
		}
	})
	return r
}

// Start starts a command under the rig: it and whatever it starts.
func (r *Rig) Start(cmd *exec.Cmd) error {
	r.t.Helper()
	filtered := make(chan error)
	started := make(chan error)
	go func() {
		// The filter is the thread's and is inherited by what it starts. The
		// thread is never unlocked, so that it ends with this goroutine.
		runtime.LockOSThread()
		listener, err := filter()
		if err == nil {
			r.wg.Go(func() { r.watch(listener) })
		}
		filtered <- err
		if err == nil {
			started <- cmd.Start()
		}
	}()
	if err := <-filtered; err != nil {
		r.t.Fatalf("the kernel lets nobody watch system calls here, so that no kill point can be tested: %v", err)
	}
	return <-started
}

// Reset forgets what was seen, and counts anew.
func (r *Rig) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points, r.hits, r.counts = nil, nil, map[Call]int{}
}

// Points gives the calls seen since the last Reset, in order.
func (r *Rig) Points() []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Point(nil), r.points...)
}

// At counts anew and has the fault at one point, once.
func (r *Rig) At(p Point, f Fault) {
	r.Disarm()
	r.Reset()
	r.Also(p, f)
}

// Also has one more fault, at another point.
func (r *Rig) Also(p Point, f Fault) { r.arm(f, true, func(q Point) bool { return p == q }) }

// Every counts anew and has the fault at every call that which selects, until
// Disarm.
func (r *Rig) Every(which func(Point) bool, f Fault) {
	r.Disarm()
	r.Reset()
	r.arm(f, false, which)
}

// Disarm lets every call through.
func (r *Rig) Disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = nil
}

func (r *Rig) arm(f Fault, once bool, at func(Point) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = append(r.armed, arm{at, f, once})
}

// Hits gives the calls that had the fault since it was armed.
func (r *Rig) Hits() []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Point(nil), r.hits...)
}

// note counts a call and says what is to become of it.
func (r *Rig) note(c Call) (p Point, f Fault, hit bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[c]++
	p = Point{c, r.counts[c]}
	r.points = append(r.points, p)
	i := slices.IndexFunc(r.armed, func(a arm) bool { return a.at(p) })
	if i < 0 {
		return p, f, false
	}
	r.hits = append(r.hits, p)
	f = r.armed[i].fault
	if r.armed[i].once {
		r.armed = slices.Delete(r.armed, i, i+1)
	}
	return p, f, true
}

// forget takes back a call that a signal kept from happening: the program makes
// it again.
func (r *Rig) forget(p Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.points); n > 0 && r.points[n-1] == p {
		r.points = r.points[:n-1]
		r.counts[p.Call]--
	}
}

func (r *Rig) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = errors.Join(r.broken, err)
}

// watch answers for every call of one command until nobody is left that could
// make one.
func (r *Rig) watch(listener int) {
	defer unix.Close(listener)
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(r.stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			r.fail(fmt.Errorf("waiting for a call: %w", err))
			return
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return // all have ended, or the test has
		}
		n, err := receive(listener)
		if err != nil {
			r.fail(err)
			return
		}
		if n.ID != 0 {
			r.answer(listener, n)
		}
	}
}

func (r *Rig) answer(listener int, n notification) {
	call, s, ok := r.identify(n)
	if !ok {
		if _, err := respond(listener, n.ID, 0); err != nil {
			r.fail(err)
		}
		return
	}
	p, fault, hit := r.note(call)
	switch {
	case !hit:
		// A call that we look at is interrupted by nothing but the end of its
		// program, on all but old kernels.
		if err := r.shadowed(n, call, s); err != nil {
			r.fail(err)
		}
		gone, err := respond(listener, n.ID, 0)
		if err != nil {
			r.fail(err)
		}
		if gone {
			r.forget(p)
		}
	case fault.errno != 0:
		r.lost(call, s)
		if _, err := respond(listener, n.ID, fault.errno); err != nil {
			r.fail(err)
		}
	default:
		group, err := groupOf(n.PID)
		if err == nil && fault.torn && call.Writes() {
			err = half(n, group, s.fd)
		}
		if err == nil {
			err = unix.Kill(group, unix.SIGKILL)
		}
		if err != nil {
			r.fail(fmt.Errorf("at %s: %w", p, err))
		}
	}
}

// Faults gives each fault that a point can have.
func Faults(p Point) []Fault {
	all := []Fault{Kill, Fail(unix.EIO), Fail(unix.ENOSPC), Fail(unix.EROFS)}
	if p.Writes() {
		all = append(all, Torn)
	}
	return all
}

// Kills reports whether the fault ends the program.
func (f Fault) Kills() bool { return f.errno == 0 }
