package scoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// maxConfigFile bounds the configuration file, in bytes.
const maxConfigFile = 1 << 20

// configKeys are the settings a configuration file may hold. The environment
// wins over the file; the script does not see what only the file says.
var configKeys = []string{"AZUREML_SOURCE_DIRECTORY", "AZUREML_ENTRY_SCRIPT", "SERVICE_NAME", "WORKSPACE_NAME",
	"SERVICE_PATH_PREFIX", "SERVICE_VERSION", "SCORING_TIMEOUT_MS", "AZUREML_LOG_LEVEL",
	"APP_INSIGHTS_LOG_RESPONSE_ENABLED", "AZUREML_MODEL_DIR", "HOSTNAME", "AZUREML_DEBUG_PORT"}

// overlay gives the variables of env over those of the file.
func overlay(file map[string]string, env *environment) *environment {
	both := newEnvironment(nil)
	maps.Copy(both.values, file)
	maps.Copy(both.values, env.values)
	return both
}

// readConfigFile finds and reads the configuration file: the one that is named,
// else config.json in the app root, else beside the script.
func (s *Settings) readConfigFile(env *environment) (map[string]string, error) {
	candidates := []string{env.get("AZUREML_CONFIG_FILE"), filepath.Join(s.AppRoot, "config.json")}
	if script := env.get("AZUREML_ENTRY_SCRIPT"); script != "" {
		candidates = append(candidates, filepath.Join(filepath.Dir(script), "config.json"))
	}
	for _, path := range candidates {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		return s.parseConfigFile(path)
	}
	return nil, nil
}

func (s *Settings) parseConfigFile(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening configuration file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading configuration file: %w", err)
	}
	values, unknown, err := configValues(text)
	if err != nil {
		return nil, sluice.Errorf(sluice.CodeInvalid, "Invalid config file!: %s: %v", path, err)
	}
	if len(unknown) > 0 {
		s.Notices = append(s.Notices, "Found extra keys in the config file that are not supported by the server.",
			"Extra keys = ['"+strings.Join(unknown, "', '")+"']")
	}
	return values, nil
}

// configValues reads the text of a configuration file: the settings, as the
// text a variable would have, and the keys that are none.
func configValues(text []byte) (values map[string]string, unknown []string, err error) {
	if len(text) > maxConfigFile {
		return nil, nil, fmt.Errorf("it is larger than %d bytes", maxConfigFile)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, nil, err
	}
	values = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if !slices.Contains(configKeys, key) {
			unknown = append(unknown, key)
			continue
		}
		var text string
		switch value := raw[key]; {
		case string(value) == "null":
		case json.Unmarshal(value, &text) == nil:
			values[key] = text
		default:
			values[key] = string(value)
		}
	}
	return values, unknown, nil
}
