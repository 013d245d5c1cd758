package api

import (
	"net/http"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// prune removes from the disk what nothing in any workspace needs, or says
// what it would remove. It is not Azure's.
func (s *server) prune(w http.ResponseWriter, r *request) error {
	var ask arm.PruneRequest
	if err := r.decode(&ask); err != nil {
		return err
	}
	if s.Disk == nil {
		return sluice.Errorf(sluice.CodeNotBuilt, "this server cannot prune")
	}
	pruned, err := s.Disk.Prune(r.Context(), ask.DryRun)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, pruned)
}
