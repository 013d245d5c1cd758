package sluice_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestCapacity(t *testing.T) {
	machine := sluice.Capacity{CPU: 4, Memory: 15.6, GPU: 1}
	for _, test := range []struct {
		size sluice.InstanceType
		want string
	}{
		{sluice.InstanceType{Name: "fits", CPU: 4, Memory: 16, GPU: 1}, ""},
		{sluice.InstanceType{Name: "cores", CPU: 8, Memory: 16}, "8 cores, this machine has 4"},
		{sluice.InstanceType{Name: "memory", CPU: 2, Memory: 32}, "32 GiB, this machine has 15.6"},
		{sluice.InstanceType{Name: "all", CPU: 6, Memory: 112, GPU: 2}, "6 cores and 112 GiB and 2 GPUs, this machine has 4 and 15.6 and 1"},
	} {
		if got := test.size.Short(machine); got != test.want {
			t.Errorf("%s: %q, want %q", test.size.Name, got, test.want)
		}
	}
}

func TestStrictCapacityNamesWhatFits(t *testing.T) {
	table := sluice.InstanceTypes()
	large, err := sluice.FindInstanceType(table, "standard_ds5_v2")
	if err != nil {
		t.Fatal(err)
	}
	machine := sluice.Capacity{CPU: 2, Memory: 7.8}
	err = sluice.CheckCapacity(table, large, machine)
	var refused *sluice.Error
	if !errors.As(err, &refused) || refused.Cause == nil {
		t.Fatalf("a type that is too large: %v", err)
	}
	if cause := refused.Cause; cause.Code != sluice.CauseInstanceType ||
		!strings.Contains(cause.Message, "16 cores and 56 GiB, this machine has 2 and 7.8") || !strings.Contains(cause.Hint, "Standard_DS2_v2") {
		t.Errorf("a type that is too large: %v", err)
	}
	for _, fits := range table {
		if fits.Short(machine) == "" {
			if err := sluice.CheckCapacity(table, fits, machine); err != nil {
				t.Errorf("%s fits, and is refused: %v", fits.Name, err)
			}
		}
	}
	if err := sluice.CheckCapacity(table, large, sluice.Capacity{}); err == nil || strings.Contains(err.Error(), "such as") {
		t.Errorf("on a machine that nothing fits: %v", err)
	}
}
