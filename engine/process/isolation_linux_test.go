package process

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/engine/process/confine"
)

// weaker is a program that says what is weaker here, in its lines.
func weaker(dir string, wanted Isolation) int {
	k, err := keepApart(dir, wanted)
	if err != nil {
		return 1
	}
	if k.groups != nil {
		k.groups.All().Remove()
	}
	json.NewEncoder(os.Stdout).Encode(append([]string{k.describe()}, k.weaker...))
	return 0
}

// Whatever cannot be held here is named, and nothing else is.
func TestWhatIsWeakerIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must be root")
		}
		t.Skip("it takes root to be all kinds of users")
	}
	const hide = `mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@"`
	ordinary := []string{"setpriv", "--reuid", "1862270977", "--regid", "1862270977", "--clear-groups"}
	masked := []string{"unshare", "-m", "sh", "-c", hide}
	const scopes, memory = "signals to other processes", "looked at ten times a second"
	for _, tt := range []struct {
		name   string
		before []string
		wanted string
		names  []string
		not    []string
	}{
		{"root", nil, "best", nil, []string{"share the user", memory, "not isolated"}},
		{"root without control groups", masked, "best", []string{memory, "control groups cannot be made here"}, []string{"share the user"}},
		{"root, held to Landlock", nil, "landlock", []string{"share the user of Sluice", "share /dev/shm", "(as configured)", "without a bound"}, []string{memory}},
		{"an ordinary user", ordinary, "best", []string{"share the user of Sluice", "Sluice does not run as root", memory, "not in /tmp"}, []string{"not isolated"}},
		{"no isolation", nil, "none", []string{"not isolated", "run only code you trust"}, []string{"share the user"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := append(slices.Clone(tt.before), self(t), "weaker", "/nonexistent/"+t.Name(), tt.wanted)
			cmd := exec.Command(line[0], line[1:]...)
			cmd.Stderr = t.Output()
			if tt.before != nil && tt.before[0] == "setpriv" { // who may not read where tests are built
				cmd.Args = append(slices.Clone(tt.before), "/proc/self/fd/3", "weaker", "/nonexistent/"+t.Name(), tt.wanted)
				program, err := os.Open(self(t))
				if err != nil {
					t.Fatal(err)
				}
				defer program.Close()
				cmd.ExtraFiles = []*os.File{program}
			}
			out, err := cmd.Output()
			var said []string
			if err != nil || json.Unmarshal(out, &said) != nil {
				t.Fatalf("%v: %s", err, out)
			}
			all := strings.Join(said, "\n")
			want := slices.Clone(tt.names)
			if abi := confine.LandlockABI(); abi < confine.LandlockScopes && tt.wanted != "none" {
				want = append(want, "version")
			} else if strings.Contains(all, scopes) {
				t.Errorf("this kernel keeps signals, and it says %s", all)
			}
			for _, name := range want {
				if !strings.Contains(all, name) {
					t.Errorf("it does not say %q:\n%s", name, all)
				}
			}
			for _, name := range tt.not {
				if strings.Contains(all, name) {
					t.Errorf("it says %q:\n%s", name, all)
				}
			}
		})
	}
}
