package scoring

import (
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sluice-ml/sluice/scoring/script"
)

//go:embed python/sluice_*.py
//go:embed python/provided/azureml_inference_server_http/*.py python/provided/azureml_inference_server_http/api/*.py
//go:embed python/provided/azureml/contrib/services/*.py
var pythonFiles embed.FS

// providedRoot is the folder of what scripts may import of the original server,
// for environments that do not have it.
const providedRoot = "python/provided"

// modules are what a worker is given beside the check of the script; it compiles
// those it imports.
var modules = [...]string{
	"sluice_debug", "sluice_exchange", "sluice_failures", "sluice_faults", "sluice_frames", "sluice_http", "sluice_inputs",
	"sluice_logs", "sluice_mlflow", "sluice_models", "sluice_packages", "sluice_places", "sluice_script", "sluice_swagger",
	"sluice_warnings", "sluice_worker",
}

// bootProgram is what python -c runs; it receives the bundle.
func bootProgram() (string, error) {
	source, err := pythonFiles.ReadFile("python/sluice_boot.py")
	if err != nil {
		return "", fmt.Errorf("reading worker's boot program: %w", err)
	}
	return string(source), nil
}

// bundle is what a worker reads first: four bytes of length, then the modules
// as JSON: its own, and those that are found where the environment has none.
func bundle() ([]byte, error) {
	worker := map[string]string{"sluice_check": script.Source}
	for _, name := range modules {
		source, err := pythonFiles.ReadFile("python/" + name + ".py")
		if err != nil {
			return nil, fmt.Errorf("reading worker's module: %w", err)
		}
		worker[name] = string(source)
	}
	provided := map[string]string{}
	err := eachProvided(func(path string, source []byte) error {
		module := strings.ReplaceAll(strings.TrimSuffix(path, ".py"), "/", ".")
		provided[module] = string(source)
		// Folders without a file of their own are packages as well.
		for at := strings.LastIndexByte(module, '.'); at >= 0; at = strings.LastIndexByte(module[:at], '.') {
			if name := module[:at] + ".__init__"; provided[name] == "" {
				provided[name] = ""
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"worker": worker, "provided": provided})
	if err != nil {
		return nil, fmt.Errorf("bundling worker: %w", err)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...), nil
}

// eachProvided calls f for every file that is provided; its path is relative.
func eachProvided(f func(path string, source []byte) error) error {
	return fs.WalkDir(pythonFiles, providedRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".py") {
			return err
		}
		source, err := pythonFiles.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading provided module: %w", err)
		}
		return f(strings.TrimPrefix(path, providedRoot+"/"), source)
	})
}
