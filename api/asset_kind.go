package api

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// assetKind is what differs between models, code and environments.
type assetKind struct {
	kind sluice.Kind
	// read takes a version out of a request and checks it. Content is resolved.
	read func(*server, *request) (sluice.Resource, error)
	wire func(*request, sluice.Resource) any
	// immutable says what of a stored version another one would change, "" when
	// nothing; accept copies what may change.
	immutable func(have, want sluice.Resource) error
	accept    func(have, want sluice.Resource)
}

func assetKinds() []assetKind {
	return []assetKind{modelKind(), codeKind(), environmentKind()}
}

func modelKind() assetKind {
	return assetKind{kind: sluice.KindModel, read: readModel,
		wire: func(r *request, res sluice.Resource) any {
			return arm.ModelFrom(r.scope, res.(*sluice.Model), r.public)
		},
		immutable: func(have, want sluice.Resource) error {
			a, b := have.(*sluice.Model), want.(*sluice.Model)
			if a.Content != b.Content {
				return pathsCannotChange()
			}
			if a.Type != b.Type || !reflect.DeepEqual(a.Flavors, b.Flavors) {
				return versionExists(have, "type and flavors")
			}
			return nil
		},
		accept: func(have, want sluice.Resource) { have.(*sluice.Model).Stage = want.(*sluice.Model).Stage },
	}
}

func codeKind() assetKind {
	return assetKind{kind: sluice.KindCode, read: readCode,
		wire: func(r *request, res sluice.Resource) any {
			return arm.CodeFrom(r.scope, res.(*sluice.CodeVersion), r.public)
		},
		immutable: func(have, want sluice.Resource) error {
			if have.(*sluice.CodeVersion).Content != want.(*sluice.CodeVersion).Content {
				return pathsCannotChange()
			}
			return nil
		},
		accept: func(sluice.Resource, sluice.Resource) {},
	}
}

func environmentKind() assetKind {
	return assetKind{kind: sluice.KindEnvironment, read: readEnvironment,
		wire: func(r *request, res sluice.Resource) any {
			// The password of a package index stays where it was put.
			shown := *res.(*sluice.Environment)
			shown.CondaFile = sluice.RedactURLs(shown.CondaFile)
			return arm.EnvironmentFrom(r.scope, &shown)
		},
		immutable: func(have, want sluice.Resource) error {
			a, b := have.(*sluice.Environment), want.(*sluice.Environment)
			sameFile := a.CondaFile == b.CondaFile || sluice.RedactURLs(a.CondaFile) == b.CondaFile // as it is shown
			if a.Image != b.Image || !sameFile || a.OSType != b.OSType ||
				!reflect.DeepEqual(a.Build, b.Build) || !reflect.DeepEqual(a.Inference, b.Inference) {
				return versionExists(have, "image, packages and routes")
			}
			was, errA := a.Switches()
			is, errB := b.Switches()
			if errA == nil && errB == nil && was != is {
				return versionExists(have, "the tags by which it is made")
			}
			return errB
		},
		accept: func(sluice.Resource, sluice.Resource) {},
	}
}

// pathsCannotChange is in the words that official clients compare.
func pathsCannotChange() error {
	return immutable("Asset paths cannot be updated.", "a version never changes: register the new content as another version")
}

func versionExists(have sluice.Resource, what string) error {
	m := have.Header()
	return immutable(fmt.Sprintf("%s %s version %s exists with another definition: %s of a version cannot be changed",
		have.Key().Kind, m.Name, m.Version, what), "register it as another version")
}

// immutable refuses to change what may not change.
func immutable(message, hint string) *sluice.Error {
	return &sluice.Error{Code: sluice.CodeImmutable, Message: message, Hint: hint,
		Cause: &sluice.Cause{Code: sluice.CauseBusy, Message: message, Hint: hint}}
}

// assetFlags gives access to the two flags that every version has.
func assetFlags(res sluice.Resource) (hidden, archived *bool) {
	switch a := res.(type) {
	case *sluice.Model:
		return &a.Hidden, &a.Archived
	case *sluice.CodeVersion:
		return &a.Hidden, &a.Archived
	case *sluice.Environment:
		return &a.Hidden, &a.Archived
	}
	panic(fmt.Sprintf("api: a %T is not a version of an asset", res))
}

func readModel(s *server, r *request) (sluice.Resource, error) {
	var wire arm.ModelVersion
	if err := r.decode(&wire); err != nil {
		return nil, err
	}
	m, err := wire.Domain()
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(m.Properties["azureml.unpack"], "true") {
		return nil, notBuilt("properties", `property azureml.unpack`).WithHint("register the unpacked folder")
	}
	m.Content, err = s.content(r, "modelUri", m.Content.URI)
	return m, err
}

func readCode(s *server, r *request) (sluice.Resource, error) {
	var wire arm.CodeVersion
	if err := r.decode(&wire); err != nil {
		return nil, err
	}
	c, err := wire.Domain()
	if err != nil {
		return nil, err
	}
	c.Content, err = s.content(r, "codeUri", c.Content.URI)
	return c, err
}

func readEnvironment(s *server, r *request) (sluice.Resource, error) {
	var wire arm.EnvironmentVersion
	if err := r.decode(&wire); err != nil {
		return nil, err
	}
	e, err := wire.Domain()
	if err != nil {
		return nil, err
	}
	switch {
	case e.Build != nil && e.Image != "":
		return nil, sluice.Errorf(sluice.CodeInvalid, "an environment has either an image or a build context, not both")
	case e.Build != nil || e.OSType == "windows":
		return nil, refuseEnvironment(e)
	case e.Image == "" && e.CondaFile == "":
		return nil, sluice.Errorf(sluice.CodeInvalid, "the environment has neither image nor conda_file").
			WithHint("for example image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest")
	case strings.Contains(e.CondaFile, sluice.Redacted+"@"):
		// Shown again, not typed: only good for a version that has the real one.
		if _, err := s.Store.Get(r.Context(), versionKey(r, sluice.KindEnvironment)); err != nil {
			return nil, sluice.Errorf(sluice.CodeInvalid, "the conda file holds %s, which is how a password is shown", sluice.Redacted).
				WithHint("write the password itself, or better keep it in pip.conf or netrc on the server")
		}
	case len(e.CondaFile) > maxCondaFile:
		return nil, sluice.Errorf(sluice.CodeTooLarge, "the conda file is over %d bytes", maxCondaFile)
	}
	_, err = e.Switches()
	return e, err
}

// maxCondaFile bounds the text of a conda file, in bytes.
const maxCondaFile = 1 << 20
