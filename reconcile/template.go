package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
)

// Labels on every workload and instance, by which they are found again and told
// apart.
const (
	LabelWorkspace  = "sluice/workspace"
	LabelEndpoint   = "sluice/endpoint"
	LabelDeployment = "sluice/deployment"
	LabelUID        = "sluice/uid"
	LabelRevision   = "sluice/revision"
)

// Azure's places for code and models, below the instance's root.
const (
	appRoot   = "/var/azureml-app"
	modelRoot = appRoot + "/azureml-models"
)

const (
	// drainDelay is how long an instance that will end still takes requests,
	// so that the routes without it reach every gateway first.
	drainDelay = 500 * time.Millisecond
	// leastGrace is how long it may at least finish what it has then.
	leastGrace = 30 * time.Second
	// spare is how much longer than its requests an instance may take to end.
	spare = 5 * time.Second
)

// graceOf gives how long an instance of a revision may finish what it has: as
// long as a request may take, so that none is cut short by a change.
func graceOf(rev *sluice.Revision) time.Duration {
	return max(leastGrace, rev.Spec.Request.Timeout+spare)
}

// parts are what a revision refers to, found and made ready.
type parts struct {
	model *sluice.Model       // nil for none
	code  *sluice.CodeVersion // nil for an MLflow model that is served as it is
	env   Python
	size  sluice.InstanceType
}

// Python is a ready Python environment.
type Python struct {
	Dir  string            // of the environment
	Bin  string            // the folder with its python
	Vars map[string]string // environment variables it brings
	Lock string            // the exact packages, for the record
	// Notices are what a user should know about it: another Python than was
	// wanted, packages that were left out.
	Notices []string
}

// newWorkload builds what the engine is asked to keep alive for a revision.
// Its ID depends on everything in the template, so that the same ID always
// means the same thing.
func newWorkload(runner string, d *sluice.Deployment, rev *sluice.Revision, p parts) engine.Workload {
	t := engine.Template{
		EnvDir:  p.env.Dir,
		Command: command(runner, p),
		Env:     templateEnv(rev, p),
		Files:   templateFiles(p),
		Dir:     appRootOf(p),
		Address: "unix://${run}/http.sock",
		Probes: engine.Probes{
			Live:  engineProbe("/v2/health/live", rev.Spec.Liveness),
			Ready: engineProbe("/", rev.Spec.Readiness),
		},
		Resources:  engine.Resources{CPU: p.size.CPU, Memory: int64(p.size.Memory * (1 << 30)), GPU: p.size.GPU},
		Restart:    engine.RestartAlways,
		DrainDelay: drainDelay,
		Grace:      graceOf(rev) + spare, // the scoring server ends by itself before it is made to
	}
	return engine.Workload{
		ID:     rev.Version + "-" + hashOf(t),
		Tenant: rev.Workspace,
		Owner:  d.UID,
		Labels: map[string]string{
			LabelWorkspace: rev.Workspace, LabelEndpoint: rev.Endpoint, LabelDeployment: rev.Name,
			LabelUID: d.UID, LabelRevision: rev.Version,
		},
		Template: t,
	}
}

func command(runner string, p parts) []string {
	args := []string{runner, "scoring", "--socket", "${run}/http.sock"}
	if p.code == nil {
		args = append(args, "--mlflow")
	}
	return args
}

// appRootOf is the folder of the code. A model without any works where it may
// write.
func appRootOf(p parts) string {
	if p.code == nil {
		return "${run}"
	}
	return "${root}" + appDir(p.code)
}

func templateEnv(rev *sluice.Revision, p parts) map[string]string {
	env := map[string]string{
		"AML_APP_ROOT":                  appRootOf(p),
		"AZUREML_INFERENCE_PYTHON_PATH": p.env.Bin,
		"PATH":                          p.env.Bin + ":/usr/local/bin:/usr/bin:/bin",
		"HOME":                          "${run}",
		"TMPDIR":                        "${run}",
		"LANG":                          "C.UTF-8",
		"SERVICE_NAME":                  rev.Endpoint,
		"WORKSPACE_NAME":                rev.Workspace,
		"HOSTNAME":                      "${instance}",
		"SLUICE_GRACE_MS":               strconv.FormatInt(graceOf(rev).Milliseconds(), 10),
		// The files are read-only: Python must not try to cache beside them.
		"PYTHONDONTWRITEBYTECODE": "1",
	}
	if rev.Spec.Code != nil {
		env["AZUREML_ENTRY_SCRIPT"] = rev.Spec.Code.ScoringScript
	}
	if p.model != nil {
		env["AZUREML_MODEL_DIR"] = "${root}" + modelDir(p.model)
		if p.code == nil {
			env["MLFLOW_MODEL_FOLDER"] = p.model.Content.Base
		}
	}
	maps.Copy(env, p.env.Vars)
	maps.Copy(env, rev.Spec.EnvironmentVariables)
	return env
}

func templateFiles(p parts) []engine.File {
	var files []engine.File
	if p.code != nil {
		files = append(files, engine.File{Digest: p.code.Content.Tree, Path: appDir(p.code)})
	}
	if p.model != nil {
		files = append(files, engine.File{Digest: p.model.Content.Tree,
			Path: path.Join(modelDir(p.model), p.model.Content.Base)})
	}
	return files
}

// appDir is where the code folder stands.
func appDir(code *sluice.CodeVersion) string {
	base := filepath.Base(code.Content.Base)
	if base == "." || base == ".." || base == "/" || base == "azureml-models" {
		base = "code"
	}
	return path.Join(appRoot, base)
}

func modelDir(m *sluice.Model) string { return path.Join(modelRoot, m.Name, m.Version) }

func engineProbe(route string, p sluice.Probe) engine.Probe {
	return engine.Probe{Path: route, InitialDelay: p.InitialDelay, Period: p.Period, Timeout: p.Timeout,
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold}
}

func hashOf(t engine.Template) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("reconcile: a template always marshals: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}
