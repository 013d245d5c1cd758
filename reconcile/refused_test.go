package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
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
	refusals atomic.Int64
}

func (r *refusing) Ensure(context.Context, int64, engine.Workload, int) error {
	r.refusals.Add(1)
	return errors.New("no such thing can run here")
}

func (r *refusing) now() time.Time {
	return time.Now().Add(time.Duration(r.refusals.Load()) * 20 * time.Second)
}

// What an engine refuses is tried again for a while; then the operation ends
// with the reason, and not never.
func TestAnEngineThatRefusesFailsTheOperation(t *testing.T) {
	w := newWorld(t)
	e := &refusing{Engine: w.engine}
	loop := reconcile.New(reconcile.Config{Store: w.db, Engine: e, Environments: w, Publisher: w, Runner: "/runner", Now: e.now,
		InstanceTypes: sluice.InstanceTypes(), Epoch: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	defer func() { cancel(); <-done }()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	op := w.op("op1")
	if op.Status != sluice.OperationFailed || op.Cause == nil || op.Cause.Code != sluice.CauseEngine || !strings.Contains(op.Cause.Message, "no such thing") {
		t.Errorf("it ended as %s: %+v", op.Status, op.Cause)
	}
	if n := e.refusals.Load(); n < 2 {
		t.Errorf("it was asked %d times, want another try", n)
	}
	if d := w.deployment(); d.State != sluice.StateFailed || d.Operation != "" {
		t.Errorf("the deployment is %s in operation %q", d.State, d.Operation)
	}
}
