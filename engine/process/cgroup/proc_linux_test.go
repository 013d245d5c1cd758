package cgroup

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const systemd1 = `25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw
31 25 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,size=4096k,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
37 31 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory
38 31 0:34 / /sys/fs/cgroup/pids rw,nosuid shared:17 - cgroup cgroup rw,pids
39 31 0:35 / /sys/fs/cgroup/blkio rw,nosuid shared:18 - cgroup cgroup rw,blkio
`

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		mounts, own string
		want        []hierarchy
	}{
		"version 1 under systemd, hybrid": {
			mounts: systemd1,
			own: "11:cpu,cpuacct:/\n9:pids:/system.slice/sluice.service\n4:memory:/system.slice/sluice.service\n" +
				"1:name=systemd:/system.slice/sluice.service\n0::/system.slice/sluice.service\n",
			want: []hierarchy{
				{controllers: []string{"cpu", "cpuacct"}, dirs: []string{"/sys/fs/cgroup/cpu,cpuacct"}},
				{controllers: []string{"memory"}, dirs: []string{"/sys/fs/cgroup/memory/system.slice/sluice.service",
					"/sys/fs/cgroup/memory/system.slice", "/sys/fs/cgroup/memory"}},
				{controllers: []string{"pids"}, dirs: []string{"/sys/fs/cgroup/pids/system.slice/sluice.service",
					"/sys/fs/cgroup/pids/system.slice", "/sys/fs/cgroup/pids"}},
			},
		},
		"version 1 without pids, and version 2 mounted beside it": {
			mounts: "1 0 0:1 / /cg/memory rw - cgroup none rw,memory\n2 0 0:2 / /cg/two rw - cgroup2 none rw\n",
			own:    "2:memory:/a\n0::/b\n",
			want: []hierarchy{
				{controllers: []string{"memory"}, dirs: []string{"/cg/memory/a", "/cg/memory"}},
				{v2: true, controllers: []string{"pids", "cpu"}, dirs: []string{"/cg/two/b", "/cg/two"}},
			},
		},
		"version 1 in a container that sees its own part": {
			mounts: "900 890 0:33 /docker/4bc1 /sys/fs/cgroup/memory ro,nosuid master:16 - cgroup cgroup rw,memory\n" +
				"901 890 0:34 /docker/4bc1 /sys/fs/cgroup/pids ro,nosuid master:17 - cgroup cgroup rw,pids\n" +
				"902 890 0:35 /docker/4bc1 /sys/fs/cgroup/cpu,cpuacct ro master:18 - cgroup cgroup rw,cpu,cpuacct\n",
			own: "4:memory:/docker/4bc1\n3:pids:/docker/4bc1/inner\n2:cpu,cpuacct:/docker/4bc\n0::/\n",
			want: []hierarchy{
				{controllers: []string{"memory"}, dirs: []string{"/sys/fs/cgroup/memory"}},
				{controllers: []string{"pids"}, dirs: []string{"/sys/fs/cgroup/pids/inner", "/sys/fs/cgroup/pids"}},
				{controllers: []string{"cpu", "cpuacct"}, dirs: []string{"/sys/fs/cgroup/cpu,cpuacct"}},
			},
		},
		"version 2 as a service": {
			mounts: "30 25 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
			own:    "0::/system.slice/sluice.service\n",
			want: []hierarchy{{v2: true, controllers: []string{"memory", "pids", "cpu"}, dirs: []string{
				"/sys/fs/cgroup/system.slice/sluice.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"}}},
		},
		"version 2 in a user's session": {
			mounts: "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			own:    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r7.scope\n",
			want: []hierarchy{{v2: true, controllers: []string{"memory", "pids", "cpu"}, dirs: []string{
				"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-r7.scope",
				"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice",
				"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service",
				"/sys/fs/cgroup/user.slice/user-1000.slice",
				"/sys/fs/cgroup/user.slice",
				"/sys/fs/cgroup"}}},
		},
		"version 2 in a container with its namespace": {
			mounts: "700 690 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n",
			own:    "0::/\n",
			want:   []hierarchy{{v2: true, controllers: []string{"memory", "pids", "cpu"}, dirs: []string{"/sys/fs/cgroup"}}},
		},
		"a group outside the namespace, and a mount of what is outside": {
			mounts: "1 0 0:1 / /a rw - cgroup2 none rw\n2 0 0:1 /../.. /b rw - cgroup2 none rw\n",
			own:    "0::/../other\n",
			want:   []hierarchy{{v2: true, controllers: []string{"memory", "pids", "cpu"}, dirs: []string{"/a", "/b"}}},
		},
		"a removed group, in a place with blanks": {
			mounts: `1 0 0:1 / /my\040groups\134x rw - cgroup2 a\040b rw` + "\n",
			own:    "0::/a slice/gone:1 (deleted)\n",
			want: []hierarchy{{v2: true, controllers: []string{"memory", "pids", "cpu"}, dirs: []string{
				`/my groups\x/a slice/gone:1 (deleted)`, `/my groups\x/a slice`, `/my groups\x`}}},
		},
		"two mounts of one hierarchy": {
			mounts: "1 0 0:1 /x /a rw - cgroup none rw,memory\n2 0 0:1 / /b rw - cgroup none rw,memory\n" +
				"3 0 0:1 / /b rw - cgroup none rw,memory\n4 0 0:4 / /p rw - cgroup none rw,pids\n5 0 0:5 / /c rw - cgroup none rw,cpu\n",
			own: "1:memory:/y\n",
			want: []hierarchy{
				{controllers: []string{"memory"}, dirs: []string{"/a", "/b/y", "/b"}},
				{controllers: []string{"pids"}, dirs: []string{"/p"}},
				{controllers: []string{"cpu"}, dirs: []string{"/c"}},
			},
		},
		"nothing mounted": {mounts: "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n", own: "0::/\n"},
		"nonsense": {
			mounts: "\n - \n1 2 3 - cgroup\n1 0 0:1 / relative rw - cgroup2 none rw\n1 0 0:1 / /m rw cgroup2 none rw\n1 0 0:1 / /m rw - ",
			own:    "\n::\n0:x\nrelative:memory:a",
		},
	} {
		got := find(test.mounts, test.own)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(hierarchy{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What is in these files may be chosen by whoever mounts and makes groups.
func FuzzFind(f *testing.F) {
	f.Add(systemd1, "4:memory:/system.slice/a b\n0::/x (deleted)\n")
	f.Add(`1 0 0:1 /\056\056 /a\040b rw - cgroup2 x rw`, "0::/../..\n")
	f.Add(`1 0 0:1 //a/ /m/../n rw - cgroup x memory,pids,cpu`, "0:memory://a/b\n")
	f.Fuzz(func(t *testing.T, mountinfo, own string) {
		var points []string
		for _, m := range parseMounts(mountinfo) {
			points = append(points, path.Clean(m.point))
		}
		for _, h := range find(mountinfo, own) {
			if len(h.controllers) == 0 || len(h.dirs) == 0 {
				t.Fatalf("%+v has nothing in it", h)
			}
			for _, dir := range h.dirs {
				if !path.IsAbs(dir) || path.Clean(dir) != dir || !below(dir, points) {
					t.Fatalf("%q is below none of %q", dir, points)
				}
			}
		}
	})
}

func below(dir string, points []string) bool {
	for _, p := range points {
		if dir == p || strings.HasPrefix(dir, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a\040b\011\012\134`: "/a b\t\n\\",
		`\377\400\08`:         "\xff\\400\\08",
		`\04`:                 `\04`,
		``:                    ``,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestParseKeyed(t *testing.T) {
	const events = "low 0\noom 3\noom_kill 2\noom_group_kill 7\n"
	for key, want := range map[string]int64{"oom_kill": 2, "oom": 3, "oom_": 0, "": 0} {
		if got := parseKeyed(events, key); got != want {
			t.Errorf("%q is %d, want %d", key, got, want)
		}
	}
	if got := parseKeyed("oom_kill\noom_kill x\n", "oom_kill"); got != 0 {
		t.Errorf("nonsense is %d", got)
	}
}

func TestWeight(t *testing.T) {
	for cores, want := range map[float64][2]string{
		0: {"1024", "100"}, 1: {"1024", "100"}, 0.5: {"512", "50"}, 2.25: {"2304", "225"},
		0.001: {"2", "1"}, 1e9: {"262144", "10000"}, -3: {"1024", "100"},
	} {
		got := [2]string{weight(cores, 1024, 2, 1<<18), weight(cores, 100, 1, 10000)}
		if got != want {
			t.Errorf("%v cores weigh %q, want %q", cores, got, want)
		}
	}
}
