package process

import (
	"fmt"
	"maps"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/engine/supervise"
)

// record is what the engine knows of a copy by itself; what the shim knows is
// beside it. Only the engine that supervises writes it.
type record struct {
	ID         string            `json:"id"`
	Workload   string            `json:"workload"`
	Labels     map[string]string `json:"labels,omitempty"`
	Slot       int               `json:"slot"`
	Created    time.Time         `json:"created"`
	Address    string            `json:"address,omitempty"`
	Run        string            `json:"run"` // ${run}
	DrainDelay time.Duration     `json:"drainDelay"`
	Grace      time.Duration     `json:"grace"`
	Live       engine.Probe      `json:"live,omitzero"`
	Owner      string            `json:"owner,omitempty"`
	World      bool              `json:"world,omitempty"` // it has a file system of its own
	User       int               `json:"user,omitempty"`  // of its own, with a world
	WantGPUs   int               `json:"wantGPUs,omitempty"`
	GPUs       []string          `json:"gpus,omitempty"` // its own for as long as it lives

	Drained time.Time `json:"drained,omitzero"`  // chosen to end
	Told    time.Time `json:"told,omitzero"`     // given the polite signal
	Forced  time.Time `json:"forced,omitzero"`   // force last used
	Forces  int       `json:"forces,omitempty"`  // how often
	Hung    string    `json:"hung,omitempty"`    // why it must be killed and replaced
	Blocked *ending   `json:"blocked,omitempty"` // why it cannot be started for now
	End     *ending   `json:"end,omitempty"`     // set where the shim has nothing to say
	Cleaned bool      `json:"cleaned,omitempty"`
}

// ending is the end of a copy of which no shim told.
type ending struct {
	At      time.Time     `json:"at"`
	Phase   engine.Phase  `json:"phase"`
	Reason  engine.Reason `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
}

// seen is one look at a copy: its record, what its shim wrote, whether that
// shim lives, and what these come to.
type seen struct {
	record   record
	state    *shim.State // nil until the command was started, or could not be
	holder   int         // the shim's process ID; 0 when there is none
	instance engine.Instance
}

// clone makes a copy that shares nothing the receiver could change.
func clone(c engine.Instance) engine.Instance {
	c.Labels = maps.Clone(c.Labels)
	if c.Exit != nil {
		exit := *c.Exit
		c.Exit = &exit
	}
	return c
}

// judge says what a copy is, from what is known of it. It is the one place
// where that is decided, and a pure function.
//
//	         no shim yet        shim, no state     state           state with an end
//	phase    pending            starting           running         succeeded | failed
//	                            (draining, once chosen to end)
func judge(r record, s *shim.State, holder int) engine.Instance {
	i := engine.Instance{ID: r.ID, Workload: r.Workload, Labels: r.Labels, Created: r.Created, Phase: engine.Pending,
		Asked: !r.Drained.IsZero()}
	if holder != 0 {
		i.Phase, i.Address = engine.Starting, r.Address
	}
	if s != nil {
		i.Address, i.Started = r.Address, s.Started
		i.Phase, i.PID = engine.Running, s.Command.PID
	}
	switch {
	case r.End != nil:
		i.Phase, i.Ended, i.Reason, i.Message, i.PID = r.End.Phase, r.End.At, r.End.Reason, r.End.Message, 0
	case s != nil && !s.Ended.IsZero():
		i.Ended, i.Exit, i.PID = s.Ended, s.Exit, 0
		i.Phase, i.Reason, i.Message = verdict(r, s)
	case !r.Drained.IsZero():
		i.Phase = engine.Draining
	case r.Blocked != nil:
		i.Reason, i.Message = r.Blocked.Reason, r.Blocked.Message
	}
	return i
}

// verdict judges an end that the shim saw.
func verdict(r record, s *shim.State) (engine.Phase, engine.Reason, string) {
	exit := s.Exit
	switch {
	case s.Error != "":
		return engine.Failed, engine.Exited, "It could not be started: " + s.Error + "."
	case exit == nil:
		return engine.Failed, engine.Exited, "The command ended and it is not known how."
	case s.Forced && r.Hung != "":
		return engine.Failed, engine.ProbeFailed, "It was killed because it seemed to hang: " + r.Hung + "."
	case s.Forced:
		return engine.Failed, engine.Exited, fmt.Sprintf("It had not ended %s after it was asked to, and was killed.", r.Grace)
	case !r.Told.IsZero() || exit.Code == 0 && exit.Signal == "":
		return engine.Succeeded, "", ""
	case exit.OOM:
		return engine.Failed, engine.OOM, outOfMemory(exit)
	case exit.Signal != "":
		return engine.Failed, engine.Exited, "The command was ended by " + exit.Signal + ", which Sluice did not send."
	default:
		return engine.Failed, engine.Exited, fmt.Sprintf("The command exited with code %d.", exit.Code)
	}
}

// outOfMemory words the end of a command for want of memory.
func outOfMemory(exit *engine.Exit) string {
	if exit.Limit == 0 {
		return "The machine had no memory left, and the kernel killed the command."
	}
	return fmt.Sprintf("It needed more memory than the %d MiB it may have (at most it held %d MiB), and was killed.", exit.Limit>>20, exit.Peak>>20)
}

// copyOf is what the supervisor needs to know.
func (s seen) copyOf() supervise.Copy {
	r, i := s.record, s.instance
	return supervise.Copy{ID: r.ID, Workload: r.Workload, Slot: r.Slot, Phase: i.Phase,
		Created: r.Created, Started: i.Started, Ended: i.Ended, DrainDelay: r.DrainDelay, Grace: r.Grace,
		Drained: r.Drained, Told: r.Told, Forced: r.Forced, Doomed: r.Hung != ""}
}

// lost reports whether the shim ended without a word while the command ran.
func (s seen) lost() bool {
	return s.record.End == nil && s.holder == 0 && s.state != nil && s.state.Ended.IsZero()
}
