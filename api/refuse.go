package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// What touches safety or behaviour and is not built is refused by name, unless
// its value is the default. These two functions are the whole list: building
// something means deleting its case.

func refuseEndpoint(e *sluice.Endpoint) error {
	switch {
	case e.AuthMode != sluice.AuthKey:
		return notBuilt("auth_mode", "auth_mode: "+string(e.AuthMode)).WithHint("use auth_mode: key")
	case len(e.MirrorTraffic) > 0:
		return notBuilt("mirror_traffic", "mirror_traffic")
	case e.Identity != nil && e.Identity.Type != "system_assigned":
		return notBuilt("identity", "identity.type: user_assigned").WithHint("use identity.type: system_assigned, or leave it out")
	case e.Compute != "":
		return notBuilt("compute", "compute (Kubernetes endpoints)")
	case e.PublicNetworkAccess == "disabled":
		return notBuilt("public_network_access", "public_network_access: disabled")
	}
	return nil
}

// defaultMountPath is where models stand for every deployment.
const defaultMountPath = "/var/azureml-app/azureml-models"

func refuseDeployment(spec *sluice.Spec) error {
	switch {
	case spec.Liveness != sluice.DefaultProbe():
		return notBuilt("liveness_probe", "liveness_probe with other than the default values")
	case spec.ModelMountPath != "" && spec.ModelMountPath != defaultMountPath:
		return notBuilt("model_mount_path", "model_mount_path")
	case spec.EgressAccess == "disabled":
		return notBuilt("egress_public_network_access", "egress_public_network_access: disabled")
	case spec.Code == nil && spec.Model == "":
		return notBuilt("code_configuration", "a deployment without code_configuration and without a model (own containers)").
			WithHint("add code_configuration with code and scoring_script, or a model of type mlflow_model")
	}
	for _, name := range slices.Sorted(maps.Keys(spec.EnvironmentVariables)) {
		if strings.Contains(spec.EnvironmentVariables[name], "${{azureml://") {
			return notBuilt("environment_variables", "a secret reference in environment variable "+name)
		}
	}
	return nil
}

// refuseEnvironment refuses an environment that a deployment refers to.
func refuseEnvironment(e *sluice.Environment) error {
	switch {
	case e.Build != nil:
		return notBuilt("environment.build", "an environment with a build context (a Dockerfile)").
			WithHint("use image with conda_file")
	case e.Inference != nil:
		return notBuilt("environment.inference_config", "environment.inference_config (own containers)")
	case e.OSType == "windows":
		return notBuilt("environment.os_type", "os_type: windows")
	}
	return nil
}

func notBuilt(field, what string) *sluice.Error {
	return &sluice.Error{Code: sluice.CodeNotBuilt, Target: field, Message: what + " is not built yet",
		Hint: "leave it out, or at its default"}
}
