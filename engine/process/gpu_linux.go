package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// driverGPUs is where NVIDIA's driver lists its GPUs, a folder each.
const driverGPUs = "/proc/driver/nvidia/gpus"

// gpuCheck bounds how long the driver is given to say that its GPUs work.
const gpuCheck = 20 * time.Second

// findGPUs gives the GPUs that instances can have. What is there and does not
// work is said, a sentence each.
func findGPUs(ctx context.Context, listing string) (found []gpu, broken []string) {
	files, err := filepath.Glob(filepath.Join(listing, "*", "information"))
	if err != nil || len(files) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, gpuCheck)
	defer cancel()
	says, err := exec.CommandContext(ctx, "nvidia-smi", "-L").CombinedOutput()
	if err != nil {
		return nil, []string{fmt.Sprintf("the machine has %d GPUs that no instance gets: `nvidia-smi -L` fails: %v: %.200s", len(files), err, strings.TrimSpace(string(says)))}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			broken = append(broken, fmt.Sprintf("a GPU is not handed out: %v", err))
			continue
		}
		g := parseGPU(string(text))
		switch _, err := os.Stat(g.Device); {
		case g.UUID == "" || g.Device == "":
			broken = append(broken, fmt.Sprintf("a GPU is not handed out: the driver does not name it in %s", file))
		case err != nil:
			broken = append(broken, fmt.Sprintf("GPU %s is not handed out: %v", g.UUID, err))
		case !strings.Contains(string(says), g.UUID):
			broken = append(broken, fmt.Sprintf("GPU %s is not handed out: `nvidia-smi -L` does not list it", g.UUID))
		default:
			found = append(found, g)
		}
	}
	return found, broken
}

// parseGPU reads what the driver says of one GPU.
func parseGPU(text string) (g gpu) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "GPU UUID":
			g.UUID = value
		case "Device Minor":
			g.Device = "/dev/nvidia" + value
		}
	}
	return g
}
