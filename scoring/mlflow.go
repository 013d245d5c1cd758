package scoring

import (
	"context"
	"io"
	"strings"

	"github.com/sluice-ml/sluice"
)

// The routes of MLflow's own server, which a server without a script has beside
// Azure's: /invocations, /ping and /health, /version.

const (
	textPlain = "text/plain; charset=utf-8"

	textNotJSON = "Expects Content-Type to be application/json"
)

// ofMLflow reports whether a route is one of MLflow's own.
func (k routeKind) ofMLflow() bool {
	return k == routeInvocations || k == routePing || k == routeVersion
}

// mlflowHealth answers what needs no worker: whether there is a model, and by
// which MLflow it is served.
func (s *Server) mlflowHealth(kind routeKind) Reply {
	t := s.pool.takes.Load()
	if phase, _ := s.pool.Phase(); phase != PhaseReady || t == nil {
		return Reply{Status: 503, Type: typeJSON, Body: []byte("\n")}
	}
	if kind == routePing {
		return Reply{Status: 200, Type: typeJSON, Body: []byte("\n")}
	}
	return Reply{Status: 200, Type: typeJSON, Body: []byte(t.MLflow)}
}

// mlflowScore has the model called, by Azure's route or by MLflow's.
func (s *Server) mlflowScore(ctx context.Context, kind routeKind, h Head, in io.Reader, id string) (Reply, int) {
	content, _ := h.Get("Content-Type")
	if kind == routeScore {
		if h.Method == "POST" && !isJSON(content) {
			return message(415, textNotJSON), s.pid
		}
		return s.score(ctx, h, in, id, nil)
	}
	return s.score(ctx, h, in, id, append([]byte("/invocations\x00"), strings.ReplaceAll(content, "\x00", "")...))
}

// isJSON reports whether a content type is one of JSON, as the original's HTTP
// layer sees it.
func isJSON(content string) bool {
	kind, _, _ := strings.Cut(content, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == typeJSON || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// refusedInput makes the reply for an input that the worker refuses, with the
// status that it says, if that is one of a failure.
func refusedInput(r result) Reply {
	status, kind := 400, typeJSON
	if r.status >= 400 && r.status <= 599 {
		status = r.status
	}
	if status == 415 { // only MLflow's server says so, and not in JSON
		kind = textPlain
	}
	return Reply{Status: status, Type: kind, Body: r.body, File: r.file, Length: r.length, Fields: []Field{{fieldFailed, "False"}}}
}

// modelWords are for a model what our own words are for the functions of a script.
var modelWords = strings.NewReplacer("while init() ran", "while the model was loaded",
	"while the script was imported", "while MLflow was imported", "run() ", "the model ", "the script ", "the model ")

// ofModel puts a cause of ours into the words of a model that has no script.
func ofModel(c *sluice.Cause, s Settings) *sluice.Cause {
	if s.MLflow {
		c.Message, c.Hint = modelWords.Replace(c.Message), modelWords.Replace(c.Hint)
	}
	return c
}
