package environment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// What scripts import without asking for its package, because one of the
// platform's packages brought it: modules, and the package of each. The
// server's own modules are not here: the scoring server brings those.
var (
	ofServer = map[string]string{
		"flask": "flask", "flask_cors": "flask-cors", "werkzeug": "werkzeug", "jinja2": "jinja2", "itsdangerous": "itsdangerous",
		"markupsafe": "markupsafe", "pydantic": "pydantic", "pydantic_settings": "pydantic-settings", "psutil": "psutil",
		"certifi": "certifi", "inference_schema": "inference-schema", "requests": "requests", "urllib3": "urllib3",
	}
	ofCore = map[string]string{
		"requests": "requests", "urllib3": "urllib3", "dateutil": "python-dateutil", "pytz": "pytz", "packaging": "packaging",
		"jwt": "pyjwt", "cryptography": "cryptography", "OpenSSL": "pyopenssl", "jsonpickle": "jsonpickle", "jmespath": "jmespath",
		"msal": "msal", "azure.core": "azure-core",
	}
	ofDatasets = map[string]string{"numpy": "numpy", "pyarrow": "pyarrow"}
	ofMLflow   = map[string]string{
		"mlflow": "mlflow-skinny", "azure.identity": "azure-identity", "azure.storage.blob": "azure-storage-blob",
		"azure.core": "azure-core", "dateutil": "python-dateutil", "pytz": "pytz", "cryptography": "cryptography",
	}
	// brings holds the platform's own packages: Sluice does what they do.
	brings = map[string][]map[string]string{
		"azureml-defaults":              {ofServer, ofCore, ofDatasets},
		"azureml-core":                  {ofCore},
		"azureml-inference-server-http": {ofServer},
		"azureml-contrib-services":      {ofServer},
		"azureml-dataset-runtime":       {ofDatasets},
		"azureml-mlflow":                {ofMLflow},
	}
)

// whole packages that bring the same as a part of them.
var wholes = map[string]string{"mlflow-skinny": "mlflow"}

// stead adds what the left out packages would have brought of what the code
// imports.
func (p *planner) stead(imports []string) {
	if len(p.left) == 0 {
		return
	}
	asked := map[string]bool{}
	for _, r := range p.plan.Requirements {
		asked[requirementName(r)] = true
	}
	var added []string
	for _, module := range imports {
		name := p.broughtBy(module)
		if name == "" || asked[name] || asked[wholes[name]] {
			continue
		}
		asked[name] = true
		added = append(added, name)
	}
	if len(added) == 0 {
		return
	}
	slices.Sort(added)
	p.plan.Requirements = append(p.plan.Requirements, added...)
	p.notice("%s installed because the code imports %s: %s would have brought %s", isAre(added), itThem(added), strings.Join(p.left, ", "), itThem(added))
}

// broughtBy gives the package by which the left out ones would have brought a
// module, or the one it is a part of; "" when they would not.
func (p *planner) broughtBy(module string) string {
	for {
		for _, left := range p.left {
			for _, modules := range brings[left] {
				if name := modules[module]; name != "" {
					return name
				}
			}
		}
		i := strings.LastIndexByte(module, '.')
		if i < 0 {
			return ""
		}
		module = module[:i]
	}
}

// forcePlatform is the line that installs the real packages.
var forcePlatform = fmt.Sprintf("tags: {%s: install}", sluice.TagPlatformPackages)

// leftOut says that the platform's own packages are not installed.
func (p *planner) leftOut() {
	if len(p.left) > 0 {
		p.notice("%s not installed: Sluice itself does that work (%s in the environment installs %s)", isAre(p.left), forcePlatform, itThem(p.left))
	}
}

func isAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

func itThem(names []string) string {
	if len(names) == 1 {
		return "it"
	}
	return "them"
}
