//go:build unix

package shim

import (
	"fmt"
	"os"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

const (
	// watchEvery is how often memory is looked at where the kernel does not
	// bound it. A process can take a lot in that time: a control group is better.
	watchEvery = 100 * time.Millisecond
	// oomInterval is how often the machine's count of processes that were killed
	// for want of memory is noted.
	oomInterval = 10 * time.Second
)

// memoryWatch tells whether the command ran out of memory. With a control group
// the kernel bounds it and counts; with a bound of our own the watch adds up and
// says when it is passed; without either, the machine's own count is all there
// is. It watches the number of threads likewise.
type memoryWatch struct {
	s       *shim
	machine *oomWatch // nil when one of the others is there
	peak    int64     // bytes, of what was added up
	over    bool      // the bound was passed
	many    bool      // that of threads was
}

func (s *shim) watchMemory() *memoryWatch {
	m := &memoryWatch{s: s}
	if s.spec.Group == nil && !m.adds() {
		m.machine = watchOOM()
	}
	return m
}

// adds says that there is a bound which nobody but us sees to.
func (m *memoryWatch) adds() bool { return m.s.spec.Memory > 0 || m.s.spec.Threads > 0 }

func (m *memoryWatch) every() time.Duration {
	switch {
	case m.machine != nil:
		return oomInterval
	case !m.adds(): // nothing to look at before the end
		return time.Hour
	}
	return watchEvery
}

// look looks once, and reports whether the command must end.
func (m *memoryWatch) look() bool {
	switch {
	case m.machine != nil:
		m.machine.look()
	case m.adds():
		most := m.s.spec.Threads
		family := familyOf(selfPID(), int(most))
		if most > 0 && int64(len(family)) > most {
			// Looking at each would take long: a bomb leaves us little time.
			m.many = true
			return true
		}
		memory, threads := held(family, m.s.spec.Scratch, m.s.spec.Memory)
		m.peak = max(m.peak, memory)
		m.over = m.over || m.s.spec.Memory > 0 && memory > m.s.spec.Memory
		m.many = m.many || m.s.spec.Threads > 0 && threads > m.s.spec.Threads
	}
	return m.over || m.many
}

// judge says on an exit whether memory was why. killed is whether the command
// was killed, and not by us.
func (m *memoryWatch) judge(exit *engine.Exit, killed bool) {
	switch {
	case m.machine != nil:
		exit.OOM = killed && m.machine.happened()
	case m.over:
		exit.OOM, exit.Limit, exit.Peak = true, m.s.spec.Memory, m.peak
	case m.s.spec.Group != nil:
		used, err := m.s.spec.Group.Usage()
		if err != nil {
			os.Stderr.WriteString("sluice shim: " + err.Error() + "\n") // its log is all it has
			return
		}
		exit.Limit, exit.Peak = used.Limit, used.Peak
		exit.OOM = used.OOMKills > 0 && (killed || exit.Code != 0)
	}
}

// note is what the log of a command says of why we ended it, "" for nothing.
func (m *memoryWatch) note() string {
	switch {
	case m.over:
		return fmt.Sprintf("it held %d MiB of memory and may have %d: it was ended", m.peak>>20, m.s.spec.Memory>>20)
	case m.many:
		return fmt.Sprintf("it ran more than the %d processes and threads that it may have: it was ended", m.s.spec.Threads)
	}
	return ""
}
