package home_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/home"
)

func load(t *testing.T, text string) (home.Config, error) {
	t.Helper()
	d := home.Dir(t.TempDir())
	if err := os.WriteFile(d.Config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return d.Load()
}

func TestSettingsThatSayNothingAreTheDefaults(t *testing.T) {
	missing, err := home.Dir(t.TempDir()).Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "# nothing\n", "gateway: {}\n"} {
		got, err := load(t, text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(home.Default(), got); diff != "" {
			t.Errorf("%q (-default +got):\n%s", text, diff)
		}
	}
	if diff := cmp.Diff(home.Default(), missing); diff != "" {
		t.Errorf("without a file (-default +got):\n%s", diff)
	}
}

func TestOneSettingLeavesTheOthers(t *testing.T) {
	got, err := load(t, "gateway:\n  listen: 0.0.0.0:9443\n")
	if err != nil {
		t.Fatal(err)
	}
	want := home.Default()
	want.Gateway.Listen = "0.0.0.0:9443"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheEnvironmentBeatsTheFile(t *testing.T) {
	t.Setenv(home.EnvAPIListen, "localhost:1234")
	got, err := load(t, "api: {listen: localhost:7443}\n")
	if err != nil || got.API.Listen != "localhost:1234" {
		t.Errorf("got %q (%v), want what the environment says", got.API.Listen, err)
	}
}

func TestURL(t *testing.T) {
	for listen, want := range map[string]string{
		"localhost:7443": "https://localhost:7443", "127.0.0.1:7443": "https://localhost:7443", "[::1]:7443": "https://localhost:7443",
		"0.0.0.0:7443": "https://localhost:7443", ":7443": "https://localhost:7443",
		"10.1.2.3:7443": "https://10.1.2.3:7443", "models.example:443": "https://models.example:443", "nonsense": "",
	} {
		if got := home.URL(listen); got != want {
			t.Errorf("URL(%q) = %q, want %q", listen, got, want)
		}
	}
	for listen, want := range map[string]bool{"localhost:1": true, "127.9.9.9:1": true, "[::1]:1": true, ":1": false, "0.0.0.0:1": false, "10.0.0.1:1": false, "x": false} {
		if got := home.Loopback(listen); got != want {
			t.Errorf("Loopback(%q) = %v, want %v", listen, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Setenv("SLUICE_HOME", "relative")
	d, err := home.Find()
	if err != nil || !filepath.IsAbs(string(d)) {
		t.Errorf("Find gave %q (%v), want an absolute path", d, err)
	}
	t.Setenv("SLUICE_HOME", "")
	if d, err := home.Find(); err != nil || !filepath.IsAbs(string(d)) || !strings.Contains(string(d), "sluice") {
		t.Errorf("Find gave %q (%v)", d, err)
	}
}

func TestNothingIsBuiltAsRoot(t *testing.T) {
	got, err := load(t, "python: {source_builds: true}\n")
	if err != nil || !got.Python.SourceBuilds || got.Python.BuildUser == 0 {
		t.Errorf("got %+v, %v", got.Python, err)
	}
	if _, err := load(t, "python: {source_builds: true, build_user: 0}\n"); err == nil || !strings.Contains(err.Error(), "python.build_user") {
		t.Errorf("packages would be built as root: %v", err)
	}
}
