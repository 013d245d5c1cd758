package sluice

import (
	"strings"
	"testing"
)

func TestSwitches(t *testing.T) {
	for _, c := range []struct {
		tags map[string]string
		want Switches
		says string // of the error
	}{
		{nil, Switches{}, ""},
		{map[string]string{"team": "a", "sluices": "b"}, Switches{}, ""},
		{map[string]string{TagPlatformPackages: "install"}, Switches{PlatformPackages: true}, ""},
		{map[string]string{TagPlatformPackages: "leave_out", TagSourceBuilds: "Allow"}, Switches{SourceBuilds: true}, ""},
		{map[string]string{TagPlatformPackages: "yes"}, Switches{}, "install or leave_out"},
		{map[string]string{TagSourceBuilds: ""}, Switches{}, "allow or refuse"},
		{map[string]string{"sluice.platform_package": "install"}, Switches{}, "sluice.platform_package"},
		{map[string]string{"Sluice.platform_packages": "install"}, Switches{}, "Sluice.platform_packages"},
	} {
		got, err := (&Environment{Meta: Meta{Tags: c.tags}}).Switches()
		switch {
		case c.says == "" && (err != nil || got != c.want):
			t.Errorf("%v: got %+v, %v", c.tags, got, err)
		case c.says != "" && (ErrorCode(err) != CodeInvalid || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%v: got %v, want %q", c.tags, err, c.says)
		}
	}
}
