package scoring

import (
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/sluice-ml/sluice/scoring/script"
)

//go:embed python/sluice_*.py
var pythonFiles embed.FS

// modules are what a worker is given beside the check of the script; it compiles
// those it imports.
var modules = [...]string{
	"sluice_failures", "sluice_faults", "sluice_frames", "sluice_inputs", "sluice_logs", "sluice_mlflow", "sluice_models",
	"sluice_packages", "sluice_places", "sluice_script", "sluice_warnings", "sluice_worker",
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
// as JSON.
func bundle() ([]byte, error) {
	sources := [][2]string{{"sluice_check", script.Source}}
	for _, name := range modules {
		source, err := pythonFiles.ReadFile("python/" + name + ".py")
		if err != nil {
			return nil, fmt.Errorf("reading worker's module: %w", err)
		}
		sources = append(sources, [2]string{name, string(source)})
	}
	text, err := json.Marshal(sources)
	if err != nil {
		return nil, fmt.Errorf("bundling worker: %w", err)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...), nil
}
