package reconcile

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestOutOfMemoryNamesLargerTypes(t *testing.T) {
	types := sluice.InstanceTypes()
	out := &sluice.Cause{Code: sluice.CauseOutOfMemory, Hint: "choose an instance_type with more memory, or load less of it at once"}
	for _, test := range []struct {
		cause *sluice.Cause
		name  string
		want  string
	}{
		{out, "standard_ds1_v2", "choose instance_type Standard_F2s_v2 (4 GiB) or Standard_DS2_v2 (7 GiB), or load less of it at once"},
		{out, "Standard_NC4as_T4_v3", "choose instance_type Standard_NV6ads_A10_v5 (55 GiB) or Standard_NC8as_T4_v3 (56 GiB), or load less of it at once"},
		{out, "Standard_FX48mds", out.Hint}, // there is none
		{out, "unheard-of", out.Hint},
		{&sluice.Cause{Code: sluice.CauseCrashed, Hint: out.Hint}, "standard_ds1_v2", out.Hint},
	} {
		if got := namingLarger(test.cause, types, test.name); got.Hint != test.want {
			t.Errorf("%s: %q, want %q", test.name, got.Hint, test.want)
		}
	}
	if out.Hint != "choose an instance_type with more memory, or load less of it at once" {
		t.Error("the cause was altered in place")
	}
	if namingLarger(nil, types, "standard_ds1_v2") != nil {
		t.Error("nothing became a cause")
	}
}
