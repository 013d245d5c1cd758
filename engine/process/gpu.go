package process

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice/engine"
)

// gpu is one graphics processor that instances can have, each one instance at
// a time.
type gpu struct {
	UUID   string // as the driver and CUDA name it
	Device string // its node, e.g. /dev/nvidia0
}

// pickGPUs gives an instance its GPUs: as many as its type says or as the
// machine has, whichever is less, of those that no other has. It gives false
// when there are too few of them for now.
func pickGPUs(all []gpu, taken map[string]bool, want int) ([]string, bool) {
	want = min(want, len(all))
	var picked []string
	for _, g := range all {
		if len(picked) < want && !taken[g.UUID] {
			picked = append(picked, g.UUID)
		}
	}
	return picked, len(picked) == want
}

// noGPU is why an instance that needs GPUs has to wait.
func noGPU(all []gpu, want int) *ending {
	return &ending{Reason: engine.NoCapacity, Message: fmt.Sprintf(
		"It needs %d of the machine's %d GPUs, and other instances have them.", min(want, len(all)), len(all))}
}

// gpuVars show CUDA the instance's own GPUs and no others. On a machine without
// any there is nothing to hide.
func (k keeping) gpuVars(r record) map[string]string {
	if len(k.gpus) == 0 {
		return nil
	}
	own := strings.Join(r.GPUs, ",")
	return map[string]string{"CUDA_VISIBLE_DEVICES": own, "NVIDIA_VISIBLE_DEVICES": cmp.Or(own, "void")}
}

// driverNodes are what every user of a GPU needs beside the GPU's own node.
var driverNodes = []string{"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"}

// gpuFiles tell CUDA how GPUs are attached.
var gpuFiles = []string{"/sys/bus/pci/devices", "/sys/devices", "/sys/module/nvidia"}

// gpuNodes gives the nodes of the machine that an instance with these GPUs
// needs, of those that are there.
func gpuNodes(all []gpu, uuids []string, there func(string) bool) []string {
	if len(uuids) == 0 {
		return nil
	}
	nodes := slices.DeleteFunc(slices.Clone(driverNodes), func(n string) bool { return !there(n) })
	for _, g := range all {
		if slices.Contains(uuids, g.UUID) {
			nodes = append(nodes, g.Device)
		}
	}
	return nodes
}
