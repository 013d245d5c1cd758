package sluice

import (
	"cmp"
	"slices"
	"strings"
)

// InstanceType is a named amount of compute.
type InstanceType struct {
	Name   string  `json:"name" yaml:"name"`
	CPU    float64 `json:"cpu" yaml:"cpu"`       // cores
	Memory float64 `json:"memory" yaml:"memory"` // GiB
	GPU    int     `json:"gpu,omitempty" yaml:"gpu,omitempty"`
}

// InstanceTypes gives the built-in table: Azure's names with their sizes.
func InstanceTypes() []InstanceType {
	return slices.Clone(instanceTypes)
}

// FindInstanceType looks a name up without regard to case. When it is not
// there the error names the nearest ones.
func FindInstanceType(table []InstanceType, name string) (InstanceType, error) {
	names := make([]string, len(table))
	for i, t := range table {
		if strings.EqualFold(t.Name, name) {
			return t, nil
		}
		names[i] = t.Name
	}
	e := Errorf(CodeInvalid, "instance_type %s is not known", name)
	e.Target = "instance_type"
	if near := Nearest(name, names, 3); len(near) > 0 {
		e.Hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	e.Cause = &Cause{Code: CauseInstanceType, Message: e.Message, Hint: e.Hint}
	return InstanceType{}, e
}

// WithMoreMemory gives the types of a table that have more memory than the named
// one and no other GPUs, the smallest first, one of each size of memory.
func WithMoreMemory(table []InstanceType, name string) []InstanceType {
	at := slices.IndexFunc(table, func(t InstanceType) bool { return strings.EqualFold(t.Name, name) })
	if at < 0 {
		return nil
	}
	have := table[at]
	more := slices.DeleteFunc(slices.Clone(table), func(t InstanceType) bool { return t.Memory <= have.Memory || t.GPU != have.GPU })
	slices.SortStableFunc(more, func(a, b InstanceType) int {
		return cmp.Or(cmp.Compare(a.Memory, b.Memory), cmp.Compare(a.CPU, b.CPU))
	})
	return slices.CompactFunc(more, func(a, b InstanceType) bool { return a.Memory == b.Memory })
}

var instanceTypes = []InstanceType{
	{"Standard_DS1_v2", 1, 3.5, 0}, {"Standard_DS2_v2", 2, 7, 0}, {"Standard_DS3_v2", 4, 14, 0},
	{"Standard_DS4_v2", 8, 28, 0}, {"Standard_DS5_v2", 16, 56, 0},
	{"Standard_F2s_v2", 2, 4, 0}, {"Standard_F4s_v2", 4, 8, 0}, {"Standard_F8s_v2", 8, 16, 0},
	{"Standard_F16s_v2", 16, 32, 0}, {"Standard_F32s_v2", 32, 64, 0}, {"Standard_F48s_v2", 48, 96, 0},
	{"Standard_F64s_v2", 64, 128, 0}, {"Standard_F72s_v2", 72, 144, 0},
	{"Standard_D2a_v4", 2, 8, 0}, {"Standard_D4a_v4", 4, 16, 0}, {"Standard_D8a_v4", 8, 32, 0},
	{"Standard_D16a_v4", 16, 64, 0}, {"Standard_D32a_v4", 32, 128, 0}, {"Standard_D48a_v4", 48, 192, 0}, {"Standard_D64a_v4", 64, 256, 0},
	{"Standard_D2as_v4", 2, 8, 0}, {"Standard_D4as_v4", 4, 16, 0}, {"Standard_D8as_v4", 8, 32, 0},
	{"Standard_D16as_v4", 16, 64, 0}, {"Standard_D32as_v4", 32, 128, 0}, {"Standard_D48as_v4", 48, 192, 0}, {"Standard_D64as_v4", 64, 256, 0},
	{"Standard_E2s_v3", 2, 16, 0}, {"Standard_E4s_v3", 4, 32, 0}, {"Standard_E8s_v3", 8, 64, 0},
	{"Standard_E16s_v3", 16, 128, 0}, {"Standard_E32s_v3", 32, 256, 0}, {"Standard_E48s_v3", 48, 384, 0}, {"Standard_E64s_v3", 64, 432, 0},
	{"Standard_FX4mds", 4, 84, 0}, {"Standard_FX12mds", 12, 252, 0}, {"Standard_FX24mds", 24, 504, 0},
	{"Standard_FX36mds", 36, 756, 0}, {"Standard_FX48mds", 48, 1008, 0},
	{"Standard_L8s_v2", 8, 64, 0}, {"Standard_L16s_v2", 16, 128, 0}, {"Standard_L32s_v2", 32, 256, 0},
	{"Standard_NC4as_T4_v3", 4, 28, 1}, {"Standard_NC8as_T4_v3", 8, 56, 1}, {"Standard_NC16as_T4_v3", 16, 110, 1}, {"Standard_NC64as_T4_v3", 64, 440, 4},
	{"Standard_NC6s_v2", 6, 112, 1}, {"Standard_NC12s_v2", 12, 224, 2}, {"Standard_NC24s_v2", 24, 448, 4},
	{"Standard_NC6s_v3", 6, 112, 1}, {"Standard_NC12s_v3", 12, 224, 2}, {"Standard_NC24s_v3", 24, 448, 4},
	{"Standard_NC24ads_A100_v4", 24, 220, 1}, {"Standard_NC48ads_A100_v4", 48, 440, 2}, {"Standard_NC96ads_A100_v4", 96, 880, 4},
	{"Standard_NC40ads_H100_v5", 40, 320, 1}, {"Standard_NC80adis_H100_v5", 80, 640, 2},
	{"Standard_ND40rs_v2", 40, 672, 8}, {"Standard_ND96asr_v4", 96, 900, 8}, {"Standard_ND96amsr_A100_v4", 96, 1900, 8},
	{"Standard_ND96isr_H100_v5", 96, 1900, 8},
	{"Standard_NV6ads_A10_v5", 6, 55, 1}, {"Standard_NV12ads_A10_v5", 12, 110, 1}, {"Standard_NV36ads_A10_v5", 36, 440, 1}, {"Standard_NV72ads_A10_v5", 72, 880, 2},
}
