package environment

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

func TestSatisfies(t *testing.T) {
	for _, c := range []struct {
		version, specifier string
		want               bool
	}{
		{"1.0", "", true}, {"1.0", "==1.0", true}, {"1.0.0", "==1", true}, {"1.0.1", "==1.0", false}, {"1.0.1", "==1.0.*", true},
		{"1.10", "==1.1.*", false}, {"1.10", ">1.9", true}, {"1.9", ">=1.9,<2", true}, {"2.0", ">=1.9,<2", false}, {"1.9", "!=1.9", false},
		{"1.9.2", "!=1.9.*", false}, {"1.4.5", "~=1.4.2", true}, {"1.5", "~=1.4.2", false}, {"1.5", "~=1.4", true}, {"2.0", "~=1.4", false},
		{"2.0b1", "", false}, {"2.0b1", ">=2.0b1", true}, {"2.0.dev1", ">1", false}, {"2.0.post1", ">2.0", true}, {"2.0.post1", "==2.0", false},
		{"1!1.0", ">2", true}, {"1.0", "(>=0.9) ; python_version < '4'", true}, {"1.0", "===1.0", true}, {"1.0rc2", "==1.0rc2", true},
		{"1.0+local", "==1.0", true}, {"1.0", "what?", true}, {"v1.0", "==1.0", true},
	} {
		r, ok := parseRelease(c.version)
		if !ok || satisfies(r, c.specifier) != c.want {
			t.Errorf("%s meets %q: %v (read: %v), want %v", c.version, c.specifier, !c.want, ok, c.want)
		}
	}
	order := []string{"0.9", "1.0.dev2", "1.0a1", "1.0b1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.2", "1.10", "1!0.1"}
	for i := range order[1:] {
		a, _ := parseRelease(order[i])
		b, _ := parseRelease(order[i+1])
		if a.compare(b) >= 0 || b.compare(a) <= 0 {
			t.Errorf("%s does not come before %s", order[i], order[i+1])
		}
	}
	for _, bad := range []string{"", "x", "1..2", "1.0-", strings.Repeat("1.", 50) + "1", "9999999999999999999"} {
		if r, ok := parseRelease(bad); ok {
			t.Errorf("%q is read as %+v", bad, r)
		}
	}
}

// TestSources reads what an index and a folder have as source, with the login
// from where it may be.
func TestSources(t *testing.T) {
	digest := strings.Repeat("a", 64)
	htmlPage := `<!DOCTYPE html><a href="../../files/old-name-1.0.tar.gz#sha256=` + digest + `" data-requires-python="&gt;=3.8">x</a>
<a data-yanked="broken" href='/files/old-name-3.0.tar.gz'>x</a><A HREF="/files/old_name-2.0.zip">x</A>
<a href="/files/old_name-2.0-py3-none-any.whl">x</a><a href="ftp://elsewhere/old-name-9.0.tar.gz">x</a><a href="/files/other-9.0.tar.gz">x</a><a name="x">`
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		asked = append(asked, r.URL.Path+" "+user+":"+password)
		switch r.URL.Path {
		case "/html/simple/old-name/", "/other/simple/old-name/":
			fmt.Fprint(w, htmlPage)
		case "/broken/old-name/":
			w.WriteHeader(http.StatusBadGateway)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	links := t.TempDir()
	netrc := filepath.Join(t.TempDir(), "netrc")
	for path, text := range map[string]string{filepath.Join(links, "old_name-4.0.tar.gz"): "x", netrc: "machine other login o password p\nmachine 127.0.0.1\n  login me password hush\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sources := func(env map[string]string, options ...string) ([]string, error) {
		var environ []string
		for k, v := range env {
			environ = append(environ, k+"="+v)
		}
		p := readSettings(append(environ, "PIP_CONFIG_FILE="+os.DevNull)).with(options).places
		client, err := p.httpClient()
		if err != nil {
			t.Fatal(err)
		}
		found, err := (&fetcher{p, client}).sources(t.Context(), "Old.Name>=1,!=9", Version{3, 11, 0})
		var names []string
		for _, s := range found {
			names = append(names, s.release.text+" "+redactURL(s.at.String())+" "+s.digest)
		}
		return names, err
	}
	at := server.URL
	withUser := strings.Replace(at, "http://", "http://me:hush@", 1)
	shown := strings.Replace(at, "http://", "http://****@", 1)
	fromHTML := []string{"1.0 " + at + "/html/files/old-name-1.0.tar.gz sha256:" + digest, "2.0 " + at + "/files/old_name-2.0.zip "}
	fromOther := []string{"1.0 " + shown + "/other/files/old-name-1.0.tar.gz sha256:" + digest, "2.0 " + shown + "/files/old_name-2.0.zip "}
	for name, c := range map[string]struct {
		env     map[string]string
		options []string
		want    []string
		login   string
	}{
		"html":     {map[string]string{"PIP_INDEX_URL": at + "/html/simple"}, nil, fromHTML, ":"},
		"login":    {map[string]string{"UV_DEFAULT_INDEX": "mine=" + withUser + "/other/simple/"}, nil, fromOther, "me:hush"},
		"uv login": {map[string]string{"UV_DEFAULT_INDEX": "my-own=" + at + "/other/simple", "UV_INDEX_MY_OWN_USERNAME": "me", "UV_INDEX_MY_OWN_PASSWORD": "hush"}, nil, fromOther, "me:hush"},
		"netrc":    {map[string]string{"PIP_INDEX_URL": at + "/html/simple", "NETRC": netrc}, nil, fromHTML, "me:hush"},
		"two":      {map[string]string{"PIP_INDEX_URL": at + "/none", "PIP_EXTRA_INDEX_URL": at + "/html/simple"}, nil, fromHTML, ":"},
		"spec's":   {map[string]string{"PIP_INDEX_URL": at + "/broken"}, []string{"--index-url " + at + "/html/simple"}, fromHTML, ":"},
		"more":     {map[string]string{"PIP_INDEX_URL": at + "/none"}, []string{"--extra-index-url " + at + "/html/simple"}, fromHTML, ":"},
		"folder":   {map[string]string{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": links + " /no/such/folder"}, nil, []string{"4.0 file://" + links + "/old_name-4.0.tar.gz "}, ""},
		"page":     {map[string]string{"PIP_NO_INDEX": "1"}, []string{"--find-links " + at + "/html/simple/old-name/"}, fromHTML, ":"},
		"no index": {map[string]string{"PIP_INDEX_URL": at + "/broken"}, []string{"--no-index"}, nil, ""},
		"trusting": {map[string]string{"PIP_INDEX_URL": at + "/html/simple", "PIP_TRUSTED_HOST": "127.0.0.1"}, nil, fromHTML, ":"},
		"unknown":  {map[string]string{"PIP_INDEX_URL": at + "/none"}, nil, nil, ":"},
	} {
		asked = nil
		got, err := sources(c.env, c.options...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if len(asked) > 0 && !strings.HasSuffix(asked[len(asked)-1], " "+c.login) {
			t.Errorf("%s: asked %q", name, asked)
		}
	}
	_, err := sources(map[string]string{"PIP_INDEX_URL": withUser + "/broken"})
	c, ok := err.(*sluice.Cause)
	if !ok || c.Code != sluice.CauseIndex || !strings.Contains(c.Message, "502") || strings.Contains(c.Message, "hush") {
		t.Errorf("a broken index: %v", err)
	}
	_, err = sources(map[string]string{"PIP_INDEX_URL": "http://me:hush@127.0.0.1:1/simple"})
	if c, ok = err.(*sluice.Cause); !ok || c.Code != sluice.CauseIndex || !strings.Contains(c.Message, "refused") || strings.Contains(c.Message, "hush") {
		t.Errorf("an index that is not there: %v", err)
	}
}

// FuzzIndexPage reads the pages of any index.
func FuzzIndexPage(f *testing.F) {
	f.Add(`<a href="a-1.0.tar.gz#sha256=00">`)
	f.Add(`<a href='//host/../a-1!1.0.post1.tar.gz'><a data-yanked href="b-1.zip">`)
	base, err := url.Parse("https://me:hush@index.example/simple/a/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range readPage(base, []byte(text)) {
			if s.file != filepath.Base(s.file) || s.file == ".." || s.at.Scheme != "http" && s.at.Scheme != "https" || s.name != normalName(s.name) {
				t.Errorf("%+v", s)
			}
			if s.at.Host != base.Host && s.at.User != nil && strings.Contains(s.at.User.String(), "hush") {
				t.Errorf("the password goes to %s", s.at.Host)
			}
		}
	})
}

// TestReadTable compares the build's own reader of pyproject.toml, for older
// Pythons, with Python's.
func TestReadTable(t *testing.T) {
	texts := []string{
		"", "[project]\nname = 'x'\n",
		"[build-system]\nrequires = ['a', \"b[c]>=1\"]\nbuild-backend = \"x.y:z\"\n",
		"[tool]\na = 1\n\n[build-system]  # comment\n# more\nrequires = [ # why\n  \"a\", # [build]\n  'b',\n]\nbackend-path = [\".\"]\n\n[project]\nrequires = ['no']\n",
		"[build-system]\nbuild-backend = 'x'\nrequires = []",
		"[build-system]\r\nrequires = [\"a\",\r\n\"b\"]\r\n[x]\r\n",
		"[build-system.more]\nrequires = ['no']\n",
	}
	b := open(t, Config{UV: "off"})
	installed, err := b.pythons.list(t.Context(), func() {})
	if err != nil || len(installed) == 0 || installed[len(installed)-1].Version.Compare(Version{3, 11, 0}) < 0 {
		t.Fatalf("no Python with a reader of its own: %v, %v", installed, err)
	}
	given, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(installed[len(installed)-1].Path, "-c", `
import json, sys, tomllib
sys.path.insert(0, ".")
sys.dont_write_bytecode = True
import sluice_build
for text in json.loads(sys.argv[1]):
    text = text.replace("\r\n", "\n")
    want = {k: v for k, v in tomllib.loads(text).get("build-system", {}).items() if k != "more"}
    got = sluice_build.read_table(text)
    assert got == want, (text, got, want)
`, string(given)).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
