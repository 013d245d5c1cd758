package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
	"github.com/sluice-ml/sluice/manifest"
)

// anonymous is the version of an asset that was made for one deployment. Its
// name comes from its content, so making it again changes nothing.
const anonymous = "1"

// uploader brings what a manifest found on this machine to the server.
type uploader struct {
	client *arm.Client
	shown  *progress.Progress
}

// content is a folder or file that the server has.
type content struct {
	uri string
	sum string // of all that it is; a name for it
}

// upload sends what the server lacks of a folder or file. name and version are
// the asset's; without a name it gets one from its content.
func (u uploader) upload(ctx context.Context, kind sluice.Kind, name, version string, local manifest.Local) (content, error) {
	step := progress.Step{Name: "uploading", Step: string(kind)}
	u.shown.Update(step)
	tree, base, open, err := artifact.ScanWith(ctx, local.Path, func(done, total int64) {
		step.Detail = "reading, " + progress.Bytes(done) + " of " + progress.Bytes(total)
		u.shown.Update(step)
	})
	if err != nil {
		return content{}, fmt.Errorf("reading %s: %w", local.Path, err)
	}
	c := content{sum: sum(string(kind), base, tree.Digest())}
	if name == "" {
		name, version = c.sum, anonymous
	}
	sending := &sending{uploader: u, kind: kind, name: name, version: version, base: base, tree: tree, open: open, step: step}
	c.uri, err = sending.send(ctx)
	if err != nil {
		return content{}, err
	}
	step.Done = true
	step.Detail = fmt.Sprintf("%d files, %s", len(tree.Files), progress.Bytes(tree.Size()))
	if len(tree.Files) == 1 {
		step.Detail = "1 file, " + progress.Bytes(tree.Size())
	}
	u.shown.Update(step)
	return c, nil
}

// sum gives a name for what the parts are: the same parts, the same name.
func sum(parts ...string) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic("sluice: a list of strings always marshals: " + err.Error())
	}
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:16])
}

// code uploads and registers a code folder and gives a reference to it.
func (u uploader) code(ctx context.Context, folder manifest.Local) (string, error) {
	c, err := u.upload(ctx, sluice.KindCode, "", "", folder)
	if err != nil {
		return "", err
	}
	code := &sluice.CodeVersion{Meta: sluice.Meta{Name: c.sum, Version: anonymous}, Hidden: true, Content: sluice.Content{URI: c.uri}}
	if _, err := u.client.PutCode(ctx, c.sum, anonymous, arm.CodeFrom(u.client.Scope(), code, "")); err != nil {
		return "", fmt.Errorf("registering the code: %w", err)
	}
	return sluice.Ref{Name: c.sum, Version: anonymous}.String(), nil
}

// model uploads and registers a model. One without a name is made for one
// deployment; one without a version gets the next, or the latest if that holds
// the same and again is set.
func (u uploader) model(ctx context.Context, m manifest.Model, again bool) (sluice.Ref, error) {
	var err error
	version, source := m.Version, m.Content.URI
	if m.Name != "" && version == "" {
		if version, err = u.client.NextVersion(ctx, sluice.KindModel, m.Name); err != nil {
			return sluice.Ref{}, err
		}
	}
	if m.Local != nil {
		c, err := u.upload(ctx, sluice.KindModel, m.Name, version, *m.Local)
		if err != nil {
			return sluice.Ref{}, err
		}
		m.Content, source = sluice.Content{URI: c.uri}, c.sum
	}
	if m.Name == "" {
		m.Hidden, m.Name, version = true, sum("model", source, string(m.Type), flat(m.Flavors), flat(m.Properties)), anonymous
	} else if again && m.Version == "" {
		if same, ok := u.sameModel(ctx, m); ok {
			return same, nil
		}
	}
	m.Version = version
	if _, err := u.client.PutModel(ctx, m.Name, version, arm.ModelFrom(u.client.Scope(), &m.Model, "")); err != nil {
		return sluice.Ref{}, fmt.Errorf("registering model %s: %w", m.Name, err)
	}
	return sluice.Ref{Name: m.Name, Version: version}, nil
}

// sameModel gives the latest version if it holds what m does.
func (u uploader) sameModel(ctx context.Context, m manifest.Model) (sluice.Ref, bool) {
	latest, ok := u.latest(ctx, sluice.KindModel, m.Name)
	if !ok {
		return latest, false
	}
	have, err := u.client.Model(ctx, latest.Name, latest.Version)
	want := arm.ModelFrom(u.client.Scope(), &m.Model, "")
	return latest, err == nil && have.Properties.ModelURI == want.Properties.ModelURI &&
		have.Properties.ModelType == want.Properties.ModelType && flat(have.Properties.Flavors) == flat(want.Properties.Flavors)
}

// environment registers an environment, by the same rules as a model.
func (u uploader) environment(ctx context.Context, e manifest.Environment, again bool) (sluice.Ref, error) {
	switch {
	case e.Name == "":
		e.Hidden, e.Version = true, anonymous
		parts := []string{"environment", e.Image, e.CondaFile, flat(e.Build), e.OSType, flat(e.Inference)}
		if made, err := e.Switches(); err == nil && made != (sluice.Switches{}) {
			parts = append(parts, flat(made))
		}
		e.Name = sum(parts...)
	case e.Version == "":
		if same, ok := u.sameEnvironment(ctx, e); ok && again {
			return same, nil
		}
		var err error
		if e.Version, err = u.client.NextVersion(ctx, sluice.KindEnvironment, e.Name); err != nil {
			return sluice.Ref{}, err
		}
	}
	if _, err := u.client.PutEnvironment(ctx, e.Name, e.Version, arm.EnvironmentFrom(u.client.Scope(), &e.Environment)); err != nil {
		return sluice.Ref{}, fmt.Errorf("registering environment %s: %w", e.Name, err)
	}
	return sluice.Ref{Name: e.Name, Version: e.Version}, nil
}

func (u uploader) sameEnvironment(ctx context.Context, e manifest.Environment) (sluice.Ref, bool) {
	latest, ok := u.latest(ctx, sluice.KindEnvironment, e.Name)
	if !ok {
		return latest, false
	}
	have, err := u.client.Environment(ctx, latest.Name, latest.Version)
	want := arm.EnvironmentFrom(u.client.Scope(), &e.Environment)
	if err != nil {
		return latest, false
	}
	there, err := have.Domain()
	if err != nil {
		return latest, false
	}
	was, errA := there.Switches()
	is, errB := e.Switches()
	return latest, errA == nil && errB == nil && was == is && have.Properties.Image == want.Properties.Image && have.Properties.CondaFile == sluice.RedactURLs(want.Properties.CondaFile) &&
		flat(have.Properties.Build) == flat(want.Properties.Build) && flat(have.Properties.InferenceConfig) == flat(want.Properties.InferenceConfig)
}

// latest gives the newest version of an asset that has one.
func (u uploader) latest(ctx context.Context, kind sluice.Kind, name string) (sluice.Ref, bool) {
	c, err := u.client.Container(ctx, kind, name)
	return sluice.Ref{Name: name, Version: c.Properties.LatestVersion}, err == nil && c.Properties.LatestVersion != ""
}

// flat gives a value as text that can be compared.
func flat(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// deployment uploads every part of a deployment that is described in place and
// puts references to them into its spec.
func (u uploader) deployment(ctx context.Context, d *manifest.Deployment) error {
	if d.Code != nil {
		ref, err := u.code(ctx, *d.Code)
		if err != nil {
			return stoppedUpload(ctx, err)
		}
		d.Spec.Code.Code = ref
	}
	if d.Model != nil {
		ref, err := u.model(ctx, *d.Model, true)
		if err != nil {
			return stoppedUpload(ctx, err)
		}
		d.Spec.Model = ref.String()
	}
	if d.Environment != nil {
		ref, err := u.environment(ctx, *d.Environment, true)
		if err != nil {
			return stoppedUpload(ctx, err)
		}
		d.Spec.Environment = ref.String()
	}
	return nil
}
