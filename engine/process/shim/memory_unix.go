//go:build unix

package shim

import (
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
// the kernel bounds it and counts; with a bound alone the watch adds up and says
// when it is passed; without either, the machine's own count is all there is.
type memoryWatch struct {
	s       *shim
	machine *oomWatch // nil when one of the others is there
	peak    int64     // bytes, of what was added up
	over    bool      // the bound was passed
}

func (s *shim) watchMemory() *memoryWatch {
	m := &memoryWatch{s: s}
	if s.spec.Group == nil && s.spec.Memory == 0 {
		m.machine = watchOOM()
	}
	return m
}

func (m *memoryWatch) every() time.Duration {
	switch {
	case m.machine != nil:
		return oomInterval
	case m.s.spec.Group != nil: // nothing to look at before the end
		return time.Hour
	}
	return watchEvery
}

// look looks once, and reports whether the command must end.
func (m *memoryWatch) look() bool {
	switch {
	case m.machine != nil:
		m.machine.look()
	case m.s.spec.Group == nil:
		held := int64(0)
		for _, pid := range familyOf(selfPID()) {
			held += memoryOf(pid)
		}
		m.peak = max(m.peak, held)
		m.over = m.over || held > m.s.spec.Memory
	}
	return m.over
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
