package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// Instances is what the handler needs of the instances of deployments.
type Instances interface {
	// Of gives the instances of the deployment with this UID, oldest first, ended
	// ones of the last hour included.
	Of(ctx context.Context, uid string) ([]arm.Instance, error)
	// Log opens the output of an instance: its last lines, or from a position
	// on. CodeNotFound when there is none any more, CodeInvalid for a position
	// that no log gave.
	Log(ctx context.Context, instance string, tail int, from string, follow bool) (Log, error)
}

// Log is the output of an instance. See engine.Log.
type Log interface {
	io.ReadCloser
	Position(back int) string
	Lost() bool
}

// maxEnded is how many instances that have ended are shown, the newest.
const maxEnded = 100

func (s *server) listInstances(w http.ResponseWriter, r *request) error {
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	all, err := s.Instances.Of(r.Context(), d.UID)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, arm.List[arm.Instance]{Value: append([]arm.Instance{}, all...)})
}

// logAsk is what a reader of logs wants.
type logAsk struct {
	instance string // "" for one that is chosen
	all      bool
	follow   bool
	tail     int
	// since and after are set by one who was cut off: when that stream began,
	// by our clock, and how far it came with each instance.
	since time.Time
	after map[string]string
}

func (a logAsk) goesOn() bool { return !a.since.IsZero() }

func (r *request) logAsk() (logAsk, error) {
	a := logAsk{instance: r.param("instance"), tail: defaultTail, after: map[string]string{}}
	var err error
	for name, to := range map[string]*bool{"all": &a.all, "follow": &a.follow} {
		if text := r.param(name); text != "" {
			if *to, err = strconv.ParseBool(text); err != nil {
				return a, sluice.Errorf(sluice.CodeInvalid, "%s is %.40q: it must be true or false", name, text)
			}
		}
	}
	if text := r.param("tail"); text != "" {
		n, err := r.number("tail")
		if err != nil || n < 1 {
			return a, sluice.Errorf(sluice.CodeInvalid, "tail is %.40q: it must be a whole number of at least 1", text)
		}
		a.tail = int(min(n, maxTail))
	}
	since, err := r.number("since")
	if err != nil {
		return a, err
	}
	if since > 0 {
		a.since = time.UnixMicro(since)
	}
	for _, text := range r.query["after"] {
		id, position, ok := strings.Cut(text, "@")
		if !ok || id == "" || position == "" {
			return a, sluice.Errorf(sluice.CodeInvalid, "after is %.80q: it must be INSTANCE@POSITION", text)
		}
		a.after[id] = position
	}
	if a.all && a.instance != "" {
		return a, sluice.Errorf(sluice.CodeInvalid, "all and instance exclude each other")
	}
	return a, nil
}

// streamLogs sends the output of instances as lines of text, each with its
// instance and its place; see arm.LogRecord. Whoever is gone, or reads nothing
// for stallTime, ends it, and every reader of a log with it.
func (s *server) streamLogs(w http.ResponseWriter, r *request) error {
	began := s.Now() // what is made from here on is new to the reader
	ask, err := r.logAsk()
	if err != nil {
		return err
	}
	if ask.goesOn() {
		began = ask.since
	}
	d, err := s.deployment(r)
	if err != nil {
		return err
	}
	all, err := s.Instances.Of(r.Context(), d.UID)
	if err != nil {
		return err
	}
	if ask.instance != "" && !slices.ContainsFunc(all, func(i arm.Instance) bool { return i.ID == ask.instance }) {
		return sluice.Errorf(sluice.CodeNotFound, "deployment %s has no instance %.60q, nor had one in the last hour", d.Name, ask.instance).
			WithHint("`sluice online-deployment events -e %s -n %s` tells which there were", d.Endpoint, d.Name)
	}
	if err := s.checkPositions(r.Context(), all, ask); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	f := &follower{server: s, deployment: d, ask: ask, began: began, out: newStream(w, stallTime), blocks: make(chan []byte),
		attached: map[string]bool{}, over: make(chan string)}
	defer f.out.end()
	if err := f.run(r.Context(), all); err != nil && r.Context().Err() == nil && !f.out.broken {
		// The status is sent: who reads on asks again.
		s.Logger.Error("streaming logs", "id", r.id, "deployment", d.Endpoint+"/"+d.Name, "error", err.Error())
	}
	return nil
}

// checkPositions refuses positions that no log gave, while there is still a
// status to do it with.
func (s *server) checkPositions(ctx context.Context, all []arm.Instance, ask logAsk) error {
	for _, i := range all {
		position := ask.after[i.ID]
		if position == "" {
			continue
		}
		log, err := s.Instances.Log(ctx, i.ID, 0, position, false)
		if sluice.ErrorCode(err) == sluice.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := log.Close(); err != nil {
			return fmt.Errorf("closing the log of instance %s: %w", i.ID, err)
		}
	}
	return nil
}

// chosen gives the one instance whose log is shown when nobody says which: one
// that lives before one that has ended, then the newest.
func chosen(all []arm.Instance) []arm.Instance {
	if len(all) == 0 {
		return nil
	}
	best := all[0]
	for _, i := range all[1:] {
		if i.Live() || !best.Live() {
			best = i
		}
	}
	return []arm.Instance{best}
}

// wanted gives the instances whose logs a reader begins with. One who was cut
// off also gets those that came since, and the rest of those it was reading.
func (a logAsk) wanted(all []arm.Instance) []arm.Instance {
	keep := func(take func(arm.Instance) bool) []arm.Instance {
		return slices.DeleteFunc(slices.Clone(all), func(i arm.Instance) bool { return !take(i) })
	}
	switch {
	case a.instance != "":
		return keep(func(i arm.Instance) bool { return i.ID == a.instance })
	case a.goesOn() && a.all && a.follow:
		return keep(func(i arm.Instance) bool { return i.Live() || a.after[i.ID] != "" || i.Created.After(a.since) })
	case a.goesOn() && !a.all && len(a.after) > 0:
		return keep(func(i arm.Instance) bool { return a.after[i.ID] != "" })
	case a.all && a.follow:
		return keep(arm.Instance.Live)
	case a.all:
		ended := len(keep(func(i arm.Instance) bool { return !i.Live() }))
		return keep(func(i arm.Instance) bool {
			if i.Live() {
				return true
			}
			ended--
			return ended < maxEnded
		})
	}
	return chosen(all)
}
