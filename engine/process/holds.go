package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ml/sluice/engine"
)

var _ engine.Holder = (*Engine)(nil)

// Holds implements engine.Holder. What is wanted is read first: a copy is only
// ever made for a workload that was there before it, and keeps its template
// until it has ended and given its files back.
func (e *Engine) Holds(ctx context.Context) ([]engine.Held, error) {
	all, err := e.readWorkloads()
	if err != nil {
		return nil, err
	}
	var held []engine.Held
	for id, w := range all {
		if !w.Removed { // of one that is, only the copies that have not ended count
			held = append(held, heldBy(id, w.Workload.Template))
		}
	}
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || !entry.IsDir() {
			continue
		}
		var t engine.Template
		err := readJSON(filepath.Join(e.instanceDir(entry.Name()), templateFile), &t)
		if errors.Is(err, fs.ErrNotExist) { // being made, or ended
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading what instance %s was started from: %w", entry.Name(), err)
		}
		held = append(held, heldBy(entry.Name(), t))
	}
	return held, ctx.Err()
}

func heldBy(workload string, t engine.Template) engine.Held {
	h := engine.Held{Workload: workload, EnvDir: t.EnvDir}
	for _, f := range t.Files {
		h.Trees = append(h.Trees, f.Digest)
	}
	return h
}
