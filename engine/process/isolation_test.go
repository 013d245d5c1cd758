package process

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/process/confine"
	"github.com/sluice-ml/sluice/engine/process/shim"
)

// However instances come and go, none has the user of another, and none is in
// another owner's range.
func TestUsersAreNeverShared(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var taken []claim
		for range 400 {
			if len(taken) > 0 && r.IntN(3) == 0 {
				taken = slices.Delete(taken, 0, 1)
				continue
			}
			owner := string(rune('a' + r.IntN(6)))
			user := pickUser("/var/lib/sluice", owner, taken)
			if user < firstUser || user >= 0x7fffffff {
				t.Fatalf("seed %d: user %d is out of range", seed, user)
			}
			for _, c := range taken {
				mine := (c.user-firstUser)/usersPerOwner == (user-firstUser)/usersPerOwner
				if c.user == user || mine && c.owner != owner {
					t.Fatalf("seed %d: user %d of %s beside user %d of %s", seed, user, owner, c.user, c.owner)
				}
			}
			taken = append(taken, claim{owner: owner, user: user})
		}
	}
}

func TestUsersRunOut(t *testing.T) {
	var taken []claim
	for range usersPerOwner {
		user := pickUser("/d", "a", taken)
		if user == 0 {
			t.Fatalf("there is no user after %d", len(taken))
		}
		taken = append(taken, claim{owner: "a", user: user})
	}
	if user := pickUser("/d", "a", taken); user != 0 {
		t.Errorf("a full range gives %d", user)
	}
	if user := pickUser("/d", "b", taken); user == 0 {
		t.Error("another owner finds no range")
	}
	taken = taken[:0]
	for n := range userRanges {
		taken = append(taken, claim{owner: "a", user: firstUser + n*usersPerOwner})
	}
	if user := pickUser("/d", "b", taken); user != 0 {
		t.Errorf("without a free range there is %d", user)
	}
}

func TestOutermost(t *testing.T) {
	for _, tt := range []struct{ files, want []string }{
		{nil, nil},
		{[]string{"/a"}, []string{"/a"}},
		{[]string{"/a/b", "/a"}, []string{"/a"}},
		{[]string{"/a", "/ab"}, []string{"/a", "/ab"}},
		{[]string{"/a", "/a"}, []string{"/a"}},
		{[]string{"${root}/a/b/", "a/b/c", "//a//d"}, []string{"/a/b", "/a/d"}},
		{[]string{"/a/line\nend/x", "/a/line"}, []string{"/a/line\nend/x", "/a/line"}},
		{[]string{"/a/...", "/a/.../b"}, []string{"/a/..."}},
	} {
		var files []engine.File
		for _, path := range tt.files {
			files = append(files, engine.File{Path: path})
		}
		if diff := cmp.Diff(tt.want, outermost(files)); diff != "" {
			t.Errorf("of %q: %s", tt.files, diff)
		}
	}
}

func FuzzInRoot(f *testing.F) {
	for _, seed := range []string{"", "/", "${root}", "${root}/a", "../a", "/a/../../b", "a\n", "${root}${root}/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := inRoot(path)
		if !strings.HasPrefix(got, "/") || got != filepath.Clean(got) || strings.Contains(got+"/", "/../") {
			t.Errorf("inRoot(%q) = %q", path, got)
		}
	})
}

func TestMemoryLimit(t *testing.T) {
	k := keeping{memory: 900}
	for asked, want := range map[int64]int64{0: 900, -1: 900, 1: 1, 899: 899, 900: 900, 1000: 900} {
		if got := k.memoryLimit(engine.Resources{Memory: asked}); got != want {
			t.Errorf("of %d it may have %d, want %d", asked, got, want)
		}
	}
}

func TestConfineByIsolation(t *testing.T) {
	const dir = "/var/lib/sluice/instances/x"
	template := engine.Template{EnvDir: "/envs/e", Files: []engine.File{{Path: "/var/azureml-app/src"}, {Path: "/var/azureml-app/azureml-models/m/1/w"}}}
	spec := shim.Spec{Command: []string{"/opt/sluice-runner", "scoring"}}
	r := record{ID: "x", Run: dir + "/run", User: firstUser}

	if got := (keeping{isolation: None}).confine(spec, r, template, dir); got != nil {
		t.Errorf("without isolation there is %+v", got)
	}

	landlock := (keeping{isolation: Landlock}).confine(spec, r, template, dir)
	if !landlock.SharedUser || landlock.World != nil || landlock.User != 0 || landlock.Processes <= maxProcesses || landlock.AllProcesses < 2*maxProcesses || landlock.Nice == 0 {
		t.Errorf("with Landlock there is %+v", landlock)
	}
	want := &confine.Reach{Read: []string{dir + "/root", "/envs/e", "/opt/sluice-runner"}, Write: []string{dir + "/run/own"}, Interpreters: []string{"/envs/e/bin/python"}}
	if diff := cmp.Diff(want, landlock.Reach); diff != "" {
		t.Error(diff)
	}
	// Its socket stands in no folder that it may change.
	for _, path := range landlock.Reach.Write {
		if rel, err := filepath.Rel(path, filepath.Join(r.Run, "http.sock")); err != nil || !strings.HasPrefix(rel, "..") {
			t.Errorf("it may change %s, where its socket is", path)
		}
	}

	r.World = true
	own := (keeping{isolation: Worlds}).confine(spec, r, template, dir)
	if own.SharedUser || own.Reach != nil || own.User != firstUser || own.Group != firstUser || own.Processes <= maxProcesses || own.AllProcesses != 0 {
		t.Errorf("with a world there is %+v", own)
	}
	world := &confine.World{At: dir + "/world", Hostname: "x", Scratch: dir + "/scratch", Run: innerRun,
		Visible: []string{"/envs/e", "/opt/sluice-runner"}, Interpreters: []string{"/envs/e/bin/python"},
		Binds: []confine.Bind{{From: dir + "/root/var/azureml-app/src", To: "/var/azureml-app/src"},
			{From: dir + "/root/var/azureml-app/azureml-models/m/1/w", To: "/var/azureml-app/azureml-models/m/1/w"}}}
	if diff := cmp.Diff(world, own.World); diff != "" {
		t.Error(diff)
	}

	spec.Command[0] = "/var/azureml-app/src/server" // comes with the files
	if got := (keeping{isolation: Worlds}).confine(spec, r, template, dir).World.Visible; slices.Contains(got, spec.Command[0]) {
		t.Errorf("of the machine it sees %q", got)
	}
}

// What a template names is what the instance sees, wherever that is.
func TestInside(t *testing.T) {
	r := record{ID: "x", Run: "/i/x/run"}
	const text = "${instance} ${root}/a ${run}/b"
	for isolation, want := range map[Isolation]string{
		None: "x /i/x/root/a /i/x/run/b", Landlock: "x /i/x/root/a /i/x/run/own/b",
	} {
		if got := (keeping{isolation: isolation}).inside(r, "/i/x").Replace(text); got != want {
			t.Errorf("it sees %q, want %q", got, want)
		}
	}
	r.World = true
	if got := (keeping{isolation: Worlds}).inside(r, "/i/x").Replace(text); got != "x /a /run/sluice/b" {
		t.Errorf("in a world it sees %q", got)
	}
}
