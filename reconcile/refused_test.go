package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
	"github.com/sluice-ml/sluice/reconcile"
)

// refusing is an engine that takes nothing. Time passes with every refusal.
type refusing struct {
	*enginetest.Engine
	with     error
	refusals atomic.Int64
}

func (r *refusing) Ensure(context.Context, int64, engine.Workload, int) error {
	r.refusals.Add(1)
	return r.with
}

func (r *refusing) now() time.Time {
	return time.Now().Add(time.Duration(r.refusals.Load()) * 20 * time.Second)
}

// What an engine refuses is tried again for a while; then the operation ends
// with the reason, and not never.
func TestAnEngineThatRefusesFailsTheOperation(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: filepath.Join(t.TempDir(), "workload.json"), Err: syscall.ENOSPC}
	for name, tt := range map[string]struct {
		with    error
		code    sluice.CauseCode
		message string
		hint    string
	}{
		"for good":     {errors.New("no such thing can run here"), sluice.CauseEngine, "no such thing", "log"},
		"for its disk": {fmt.Errorf("recording what is wanted: %w", full), sluice.CauseDiskFull, filepath.Dir(full.Path) + ": ", "free space"},
		"for a read-only disk": {fmt.Errorf("recording what is wanted: %w", &fs.PathError{Op: "open", Path: full.Path, Err: syscall.EROFS}),
			sluice.CauseDiskFailed, "read-only file system", "disk"},
	} {
		t.Run(name, func(t *testing.T) {
			cause := refusedWith(t, tt.with)
			if cause == nil || cause.Code != tt.code || !strings.Contains(cause.Message, tt.message) || !strings.Contains(cause.Hint, tt.hint) {
				t.Errorf("it ended with %+v", cause)
			}
		})
	}
}

// refusedWith has an engine refuse with the error until the operation ends, and
// gives the cause of that.
func refusedWith(t *testing.T, err error) *sluice.Cause {
	w := newWorld(t)
	e := &refusing{Engine: w.engine, with: err}
	loop := reconcile.New(reconcile.Config{Store: w.db, Engine: e, Environments: w, Publisher: w, Runner: "/runner", Now: e.now,
		InstanceTypes: sluice.InstanceTypes(), Epoch: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	defer func() { cancel(); <-done }()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	op := w.op("op1")
	if op.Status != sluice.OperationFailed {
		t.Errorf("it ended as %s", op.Status)
	}
	if n := e.refusals.Load(); n < 2 {
		t.Errorf("it was asked %d times, want another try", n)
	}
	if d := w.deployment(); d.State != sluice.StateFailed || d.Operation != "" {
		t.Errorf("the deployment is %s in operation %q", d.State, d.Operation)
	}
	return op.Cause
}
