package scoring

import "runtime"

// spawner starts processes from one thread that lives as long as they do:
// "killed when the parent dies" means, to Linux, when the thread dies that
// started it.
type spawner struct {
	work chan func()
}

// spawning is a running spawner.
type spawning struct {
	quit, done chan struct{}
}

func newSpawner() *spawner { return &spawner{work: make(chan func())} }

func (s *spawner) start() *spawning {
	on := &spawning{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(on.done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		for {
			select {
			case f := <-s.work:
				f()
			case <-on.quit:
				return
			}
		}
	}()
	return on
}

// run calls f on the thread and gives what it returns. The spawner must have
// been started.
func (s *spawner) run(f func() error) error {
	result := make(chan error, 1)
	s.work <- func() { result <- f() }
	return <-result
}

// stop ends the thread. No process started from it may be alive any more.
func (on *spawning) stop() {
	close(on.quit)
	<-on.done
}
