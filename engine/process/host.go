package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/engine/supervise"
)

// killShimAfter is how many times force is asked of a shim before the shim
// itself is killed: it is stopped, or broken.
const killShimAfter = 5

// host is the engine as its supervisor sees it.
type host struct{ *Engine }

// List implements supervise.Host. On the way it mends what it finds half done:
// copies that nobody starts, shims that ended without a word, ended copies that
// still hold files.
func (h host) List(context.Context) ([]supervise.Want, []supervise.Copy, error) {
	// What is wanted is read first: a copy is only ever made for a workload
	// that was there before it.
	all, err := h.readWorkloads()
	if err != nil {
		return nil, nil, err
	}
	busy := h.inLaunch()
	list, err := h.look()
	if err != nil {
		return nil, nil, err
	}
	h.claim(list)
	for i, s := range list {
		if err := h.mend(&list[i], busy[s.record.ID]); err != nil {
			h.log.Error("mending an instance", "instance", s.record.ID, "error", err)
		}
	}
	h.tell(list)
	wants := make([]supervise.Want, 0, len(all))
	for id, w := range all {
		wants = append(wants, supervise.Want{Workload: id, Restart: w.Workload.Template.Restart,
			Replicas: w.Replicas, Removed: w.Removed})
	}
	copies := make([]supervise.Copy, 0, len(list))
	for _, s := range list {
		c := s.copyOf()
		if h.config.Service != nil {
			c.Service = h.config.Service(c.ID)
		}
		copies = append(copies, c)
	}
	return wants, copies, nil
}

// claim notes what is taken. The user of an instance is free again once it is
// cleaned up, its GPUs once it has ended.
func (h host) claim(list []seen) {
	claims := map[string]claim{}
	for _, s := range list {
		if s.record.Cleaned {
			continue
		}
		c := claim{owner: s.record.Owner, user: s.record.User}
		if !s.instance.Phase.Ended() {
			c.gpus = s.record.GPUs
		}
		claims[s.record.ID] = c
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claims = claims
}

// settle gives a copy what it is to have for itself: a user, where it has a
// world, and GPUs. A copy for which there are too few is blocked.
func (h host) settle(r *record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keep.isolation == Worlds && r.User == 0 {
		r.World, r.User = true, pickUser(h.dir, r.Owner, slices.Collect(maps.Values(h.claims)))
		if r.User == 0 {
			return fmt.Errorf("making an instance of %s: every user is taken", r.Workload)
		}
	}
	taken := map[string]bool{}
	for _, c := range h.claims {
		for _, uuid := range c.gpus {
			taken[uuid] = true
		}
	}
	r.Blocked = nil
	var enough bool
	if r.GPUs, enough = pickGPUs(h.keep.gpus, taken, r.WantGPUs); !enough {
		r.GPUs, r.Blocked = nil, noGPU(h.keep.gpus, r.WantGPUs)
	}
	h.claims[r.ID] = claim{r.Owner, r.User, r.GPUs}
	return nil
}

// unblock starts a copy that had to wait, if there is enough for it now.
func (h host) unblock(r record) error {
	if err := h.settle(&r); err != nil || r.Blocked != nil {
		return err
	}
	if err := h.update(r.ID, func(known *record) { known.GPUs, known.Blocked = r.GPUs, nil }); err != nil {
		return err
	}
	h.launch(r.ID)
	return nil
}

// mend brings one copy from a state that nobody else would end.
func (h host) mend(s *seen, launching bool) error {
	id := s.record.ID
	switch {
	case s.record.Cleaned:
		return nil
	case s.instance.Phase.Ended():
		return h.clean(s)
	case s.holder != 0:
		h.watch(s.record, s.holder, s.instance.Phase == engine.Running)
		return nil
	case s.lost():
		return h.bury(s)
	case launching:
		return nil
	case s.record.Blocked != nil && s.record.Told.IsZero():
		return h.unblock(s.record)
	case !s.record.Told.IsZero() || !s.record.Forced.IsZero():
		return h.finish(s, ending{At: h.now(), Phase: engine.Succeeded, Message: "It was asked to end before it had started."})
	case h.killLeftovers(s):
		return nil // its shim was killed before it could write anything down: look again
	default:
		h.launch(id)
		return nil
	}
}

// finish records an end of which no shim tells.
func (h host) finish(s *seen, end ending) error {
	err := h.update(s.record.ID, func(r *record) { r.End = &end })
	if err != nil {
		return err
	}
	s.record.End = &end
	s.instance = judge(s.record, s.state, s.holder)
	s.instance.Node = h.node
	return nil
}

// bury ends what a killed shim left behind, and records that it was lost.
func (h host) bury(s *seen) error {
	restarted := s.state.Boot != shim.BootID()
	if !restarted && h.killLeftovers(s) {
		return nil // some were there: look again before calling it ended
	}
	end := ending{At: h.now(), Phase: engine.Failed, Reason: engine.Exited,
		Message: "The process that watches over it was killed, so it was ended too."}
	if restarted {
		end.Reason, end.Message = engine.Evicted, "The machine restarted while it ran."
	}
	return h.finish(s, end)
}

// clean gives back what an ended copy no longer needs: its files, its private
// directory, and the secrets it was started with. Its log stays.
func (h host) clean(s *seen) error {
	dir := h.instanceDir(s.record.ID)
	err := errors.Join(
		removeFile(filepath.Join(dir, shim.SpecFile)),
		removeFile(filepath.Join(dir, templateFile)),
		removeTree(filepath.Join(dir, rootDir)),
		h.removeRun(dir, s.record.Run),
		removeFile(filepath.Join(dir, worldDir)),
		removeFile(filepath.Join(dir, scratchDir)),
		h.removeGroup(s.record.ID),
	)
	if err != nil {
		return err
	}
	s.record.Cleaned = true
	return h.update(s.record.ID, func(r *record) { r.Cleaned = true })
}

// Do implements supervise.Host.
func (h host) Do(_ context.Context, w supervise.Want, a supervise.Action) error {
	now := h.now()
	switch a.Kind {
	case supervise.Start:
		return h.create(w.Workload, a.Slot, now)
	case supervise.Drain:
		return h.update(a.ID, func(r *record) { r.Drained = now })
	case supervise.Tell:
		if err := h.update(a.ID, func(r *record) { r.Told = now }); err != nil {
			return err
		}
		h.stopLaunch(a.ID)
		return h.signal(a.ID, polite)
	case supervise.Force:
		forces := 0
		err := h.update(a.ID, func(r *record) {
			r.Forced = now
			r.Forces++
			forces = r.Forces
		})
		if err != nil {
			return err
		}
		h.stopLaunch(a.ID)
		if forces >= killShimAfter {
			return h.signal(a.ID, kill)
		}
		return h.signal(a.ID, force)
	case supervise.Forget:
		return h.forget(a.ID)
	case supervise.Drop:
		return h.dropWorkload(w.Workload)
	default:
		return fmt.Errorf("unknown action %q", a.Kind)
	}
}

// create makes the directory of a new copy, its record last, and has it
// started. A directory without a record is nobody's.
func (h host) create(workload string, slot int, now time.Time) error {
	w, err := h.readWorkload(workload)
	if err != nil || w == nil || w.Removed {
		return err // no longer wanted
	}
	id := newID()
	dir := h.instanceDir(id)
	t := w.Workload.Template
	r := record{ID: id, Workload: workload, Owner: w.Workload.Owner, Labels: w.Workload.Labels, Slot: slot, Created: now,
		Run: h.runPath(dir), DrainDelay: t.DrainDelay, Grace: t.Grace}
	r.Live, r.WantGPUs = t.Probes.Live, t.Resources.GPU
	if err := h.settle(&r); err != nil {
		return err
	}
	r.Address = r.fill(dir).Replace(t.Address)
	if t.Port != 0 && !r.World { // it has this machine's network, and the port for itself
		r.Address = fmt.Sprintf("http://127.0.0.1:%d", t.Port)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	err = os.Mkdir(filepath.Join(dir, shim.LogDir), 0o700)
	if err == nil {
		err = shim.WriteJSON(filepath.Join(dir, templateFile), t)
	}
	if err == nil {
		err = shim.WriteJSON(filepath.Join(dir, copyFile), r)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if r.Blocked == nil {
		h.launch(id)
	}
	return nil
}

// newID is short, because sockets have it in their path, and not to be
// guessed.
func newID() string { return strings.ToLower(rand.Text())[:12] }

// fill replaces what a template may name.
func (r record) fill(dir string) *strings.Replacer {
	return strings.NewReplacer("${instance}", r.ID, "${root}", filepath.Join(dir, rootDir), "${run}", r.Run)
}

// forget removes what is left of a copy, its record first, so that half of it
// is nobody's.
func (h host) forget(id string) error {
	h.mu.Lock()
	delete(h.ended, id)
	h.mu.Unlock()
	dir := h.instanceDir(id)
	if err := removeFile(filepath.Join(dir, copyFile)); err != nil {
		return err
	}
	return removeTree(dir)
}

// removeGroup removes the control group of a copy that has ended.
func (h host) removeGroup(id string) error {
	if h.keep.groups == nil {
		return nil
	}
	g, err := h.keep.groups.Group(id)
	if err != nil {
		return err
	}
	return g.Remove()
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
