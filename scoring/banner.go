package scoring

import (
	"fmt"
	"strings"
)

// settingsShown are the rows of the banner: variable, description.
var settingsShown = [...][2]string{
	{"AZUREML_ENTRY_SCRIPT", "Entry Script Name"},
	{"AZUREML_MODEL_DIR", "Model Directory"},
	{"AZUREML_CONFIG_FILE", "Config File"},
	{"WORKER_COUNT", "Worker Count"},
	{"WORKER_TIMEOUT", "Worker Timeout (seconds)"},
	{"SERVER_PORT", "Server Port"},
	{"HEALTH_PORT", "Health Port"},
	{"AML_APP_INSIGHTS_ENABLED", "Application Insights Enabled"},
	{"AML_APP_INSIGHTS_KEY", "Application Insights Key"},
	{"HTTP_X_MS_SERVER_VERSION", "Inferencing HTTP server version"},
	{"AML_CORS_ORIGINS", "CORS for the specified origins"},
	{"SEPERATE_HEALTH_ENDPOINT", "Create dedicated endpoint for health"},
}

// banner gives the lines that are printed before anything is started.
func banner(s Settings) []string {
	env := newEnvironment(s.Environ)
	var lines []string
	if _, ok := env.lookup("AZUREML_MODEL_DIR"); !ok {
		lines = append(lines, "The environment variable 'AZUREML_MODEL_DIR' has not been set.",
			"Use the --model_dir command line argument to set it.")
	}
	lines = append(lines, s.Notices...)
	lines = append(lines, "", "Azure ML Inferencing HTTP server v"+ContractVersion+" (Sluice)", "", "",
		"Server Settings", "---------------")
	for _, row := range settingsShown {
		value, ok := env.lookup(row[0])
		switch {
		case !ok:
			value = "None"
		case row[0] == "AML_APP_INSIGHTS_KEY":
			value = "AppInsights key provided"
		case row[0] == "AML_CORS_ORIGINS":
			value = "Enabling CORS for " + value
		}
		lines = append(lines, row[1]+": "+value)
	}
	lines = append(lines, "", "", "Server Routes", "---------------")
	if s.Socket != "" {
		return append(lines, "Liveness Probe: GET   "+s.Socket+" /", "Score:          POST  "+s.Socket+" /score", "")
	}
	health := env.get("HEALTH_PORT")
	return append(lines, fmt.Sprintf("Liveness Probe: GET   127.0.0.1:%s/", health),
		fmt.Sprintf("Score:          POST  127.0.0.1:%d/score", s.Port), "")
}

// configurationError is the box in which a variable with a bad value is shown.
func configurationError(field, message string) string {
	return strings.Join([]string{"", "===============Configuration Error=================",
		fmt.Sprintf("%s: %s (environment variable: %s)", field, message, field),
		"==================================================="}, "\n")
}
