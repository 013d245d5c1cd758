package scoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice/scoring/frame"
)

// takes says what a script takes of a request, as its workers tell once they
// are ready. It is immutable.
type takes struct {
	Headers bool       `json:"headers"` // as an argument
	Kind    scriptKind `json:"kind"`
	Whole   bool       `json:"whole"`  // method, path and all headers
	MLflow  string     `json:"mlflow"` // its version, of a model without a script

	documents map[string][]byte // descriptions of the service, by version
}

// scriptKind is what run() is called with.
type scriptKind string

const (
	kindPlain  scriptKind = "plain"  // the body, as text
	kindSchema scriptKind = "schema" // fields of a JSON object
	kindRaw    scriptKind = "raw"    // the request
	kindModel  scriptKind = "model"  // no script: what MLflow has for the model
)

// modelTakes is what is known of every model without a script before a worker
// tells.
var modelTakes = &takes{Kind: kindModel}

// learn keeps what a worker that became ready has told. Callers hold mu.
func (p *Pool) learn(t *takes) {
	before := p.takes.Load()
	if before != nil && t.documents == nil {
		t.documents = before.documents // only the first workers are asked for them
	}
	p.takes.Store(t)
	if before == nil {
		close(p.known)
	}
}

// Takes waits until it is known what the script takes; nil when it never will.
func (p *Pool) Takes(ctx context.Context) *takes {
	if t := p.takes.Load(); t != nil {
		return t
	}
	select {
	case <-p.known:
	case <-ctx.Done():
	}
	return p.takes.Load()
}

// maxDocument bounds one description, in bytes.
const maxDocument = 16 << 20

// keepDocument takes a description of the service, which a worker tells of
// before it is ready. Callers hold the mutex.
func (w *worker) keepDocument(f frame.Frame, file *os.File) error {
	version, text := string(f.Meta), f.Body
	if file != nil {
		defer file.Close()
	}
	if w.phase == PhaseReady || f.BodyLen > maxDocument || !slices.Contains(swaggerVersions, version) {
		return errors.New("worker sent a description that it should not")
	}
	if file != nil {
		text = make([]byte, f.BodyLen)
		if _, err := io.ReadFull(file, text); err != nil {
			return fmt.Errorf("reading description of the service: %w", err)
		}
	}
	if w.documents == nil {
		w.documents = map[string][]byte{}
	}
	w.documents[version] = append([]byte(nil), text...)
	return nil
}

// swaggerVersions are those of which there may be a description; swaggerNames
// are other names for them.
var (
	swaggerVersions = []string{"2", "3", "3.1"}
	swaggerNames    = map[string]string{"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
)

// swagger answers /swagger.json.
func swagger(t *takes, query string) Reply {
	asked, ok := queryValue(query, "version")
	if !ok {
		asked = "2"
	}
	var have []string
	for _, version := range swaggerVersions {
		if _, ok := t.documents[version]; ok {
			have = append(have, version)
		}
	}
	version, valid := swaggerNames[asked]
	text, ok := t.documents[version]
	switch {
	case !valid:
		return message(404, fmt.Sprintf("Swagger version [%s] is not valid. Supported versions: [%s].",
			asked, strings.Join(have, ", ")))
	case !ok:
		return message(404, fmt.Sprintf("Swagger version [%s] is not supported for the scoring script. "+
			"Supported swagger versions: [%s].", asked, strings.Join(have, ", ")))
	}
	return Reply{Status: 200, Type: typeJSON, Body: text, Fields: []Field{{fieldFailed, "False"}}}
}
