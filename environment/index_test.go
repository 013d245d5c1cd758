package environment

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func has(t *testing.T, list []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(list, w) {
			t.Errorf("%q is not among %q", w, list)
		}
	}
}

func hasNone(t *testing.T, list []string, starts ...string) {
	t.Helper()
	for _, s := range starts {
		if i := slices.IndexFunc(list, func(kv string) bool { return strings.HasPrefix(kv, s) }); i >= 0 {
			t.Errorf("%q is among them", list[i])
		}
	}
}

func TestSettingsOfPipReachUV(t *testing.T) {
	home := t.TempDir()
	conf := filepath.Join(home, ".config", "pip", "pip.conf")
	links := filepath.Join(home, "wheels")
	if err := os.MkdirAll(filepath.Dir(conf), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(links, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "[global]\nindex-url = https://u:secret-one@example.com/simple\ntimeout: 7\n; no\n[install]\nextra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n" +
		"find-links = /not/there " + links + "\ntrusted-host = a.example\nproxy = proxy.example:3128\ntarget = /etc\n[freeze]\nindex-url = https://no.example\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := readSettings([]string{"HOME=" + home, "XDG_CONFIG_DIRS=" + home, "PIP_CERT=/ca.pem", "SECRET=1", "PYTHONPATH=/x", "PIP_TARGET=/y", "UV_PYTHON=/z"})
	has(t, s.uv, "UV_DEFAULT_INDEX=https://u:secret-one@example.com/simple", "UV_INDEX=https://a.example/simple https://b.example/simple",
		"UV_FIND_LINKS="+links, "UV_INSECURE_HOST=a.example", "UV_HTTP_TIMEOUT=7", "SSL_CERT_FILE=/ca.pem", "HTTPS_PROXY=http://proxy.example:3128")
	has(t, s.pip, "PIP_CERT=/ca.pem", "HOME="+home)
	hasNone(t, slices.Concat(s.pip, s.uv), "SECRET=", "PYTHONPATH=", "PIP_TARGET=", "UV_PYTHON=")
	if s.index != "https://****@example.com/simple" {
		t.Errorf("the index is called %s", s.index)
	}
	if got := s.redact("GET https://u:secret-one@example.com/simple and secret-one"); strings.Contains(got, "secret-one") {
		t.Errorf("redacted: %s", got)
	}
}

func TestSettingsOfUVReachPip(t *testing.T) {
	s := readSettings([]string{"PIP_CONFIG_FILE=" + os.DevNull, "UV_DEFAULT_INDEX=main=https://u:secret-two@example.com/simple", "UV_INDEX=x=https://x.example/simple",
		"UV_INDEX_X_PASSWORD=secret-three", "HTTPS_PROXY=http://u:secret-four@proxy.example"})
	has(t, s.pip, "PIP_INDEX_URL=https://u:secret-two@example.com/simple", "PIP_EXTRA_INDEX_URL=https://x.example/simple")
	has(t, s.uv, "UV_DEFAULT_INDEX=main=https://u:secret-two@example.com/simple", "UV_INDEX_X_PASSWORD=secret-three")
	if got := s.redact("secret-two secret-three secret-four"); strings.Contains(got, "secret") {
		t.Errorf("redacted: %s", got)
	}
	own := s.with([]string{"--index-url https://u:secret-five@other.example/simple"})
	hasNone(t, own.uv, "UV_DEFAULT_INDEX=")
	if got := own.redact("secret-five"); got != "****" || s.redact("secret-five") != "secret-five" {
		t.Errorf("redacted: %s", got)
	}
}

func TestSettingsID(t *testing.T) {
	one := []string{"PIP_CONFIG_FILE=" + os.DevNull, "PIP_INDEX_URL=https://a"}
	if readSettings(one).id != readSettings(append(one, "LANG=C")).id {
		t.Error("the id depends on what does not matter")
	}
	if readSettings(one).id == readSettings([]string{"PIP_CONFIG_FILE=" + os.DevNull, "PIP_INDEX_URL=https://b"}).id {
		t.Error("two indexes have one id")
	}
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:p@h/x":          "https://****@h/x",
		"a http://tok@h b":         "a http://****@h b",
		"https://h/x@y":            "https://h/x@y",
		"git+ssh://git@h/x":        "git+ssh://****@h/x",
		"https://u:p@h https://h2": "https://****@h https://h2",
	} {
		if got := redactURL(in); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}
