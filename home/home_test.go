package home

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMake(t *testing.T) {
	base, err := os.MkdirTemp("", "h") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	d := Dir(filepath.Join(base, "new", "state"))
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(d.Run()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run/ is %v, %v", info, err)
	}
	file := Dir(filepath.Join(base, "file"))
	if err := os.WriteFile(string(file), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Dir{file, Dir("/tmp/" + strings.Repeat("x", maxPath))} {
		if err := bad.Make(); err == nil || !strings.Contains(err.Error(), "set SLUICE_HOME") {
			t.Errorf("Make of %s: got %v, want an error that says what to set", bad, err)
		}
	}
}

func TestLoadSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"api:\n  lisen: x\n":                "sluice.yml:2:3: unknown field \"lisen\" (`sluice config show`",
		"api: [\n":                          "sluice.yml:1:6: ",
		"gateway:\n  max_body: lots\n":      "sluice.yml:2:13: ",
		"api: {listen: 'localhost:99999'}":  `sluice.yml: api.listen: the port of "localhost:99999" is not a number from 0 to 65535`,
		"api: {listen: 'localhost:https'}":  "is not a number",
		"gateway: {listen: 'localhost'}":    `gateway.listen: "localhost" is not host:port`,
		"log: {level: loud}":                "log.level",
		"gateway: {max_body: 0}":            "max_body",
		"api: {listen: 'localhost:0'}\n---": "",
		"disk:\n  budget: 20\n":             `sluice.yml:2:11: "20" is not a size: write for example 20GiB or 500MB`,
		"disk:\n  budget: lots\n":           `sluice.yml:2:11: "lots" is not a size`,
		"disk:\n  budget: [1]\n":            "sluice.yml:2:",
		"disk: {warn: 0}":                   "disk.warn: 0 is not a percentage",
		"disk: {warn: 101}":                 "disk.warn",
		"disk: {warn: many}":                "sluice.yml:1:",
		"disk: {budget: 20 GiB, warn: 90}":  "",
	} {
		dir := Dir(t.TempDir())
		if err := os.WriteFile(dir.Config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := dir.Load()
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one line with %s", text, err, want)
		}
	}
}
