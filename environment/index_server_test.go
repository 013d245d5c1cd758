package environment

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// wheel is a tiny package, made in the test.
type wheel struct {
	name, version string
	tag           string // "" for any Python
	requires      []string
	python        string // Requires-Python
	code          string // of its one module
	script        string // the name of a program that calls its main()
	pth           string // text of a .pth file beside it
}

func (w wheel) file() string {
	tag := w.tag
	if tag == "" {
		tag = "py3-none-any"
	}
	return fmt.Sprintf("%s-%s-%s.whl", strings.ReplaceAll(w.name, "-", "_"), w.version, tag)
}

func (w wheel) bytes(t testing.TB) []byte {
	t.Helper()
	module := strings.ReplaceAll(w.name, "-", "_")
	info := module + "-" + w.version + ".dist-info/"
	meta := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.name, w.version)
	for _, r := range w.requires {
		meta += "Requires-Dist: " + r + "\n"
	}
	if w.python != "" {
		meta += "Requires-Python: " + w.python + "\n"
	}
	_, tag, _ := strings.Cut(strings.TrimSuffix(w.file(), ".whl"), "-"+w.version+"-")
	files := [][2]string{
		{module + ".py", "__version__ = '" + w.version + "'\n" + w.code},
		{info + "METADATA", meta},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: " + tag + "\n"},
	}
	if w.script != "" {
		files = append(files, [2]string{info + "entry_points.txt", "[console_scripts]\n" + w.script + " = " + module + ":main\n"})
	}
	if w.pth != "" {
		files = append(files, [2]string{module + ".pth", w.pth})
	}
	record := ""
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		add(t, z, f[0], f[1])
		sum := sha256.Sum256([]byte(f[1]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", f[0], base64.RawURLEncoding.EncodeToString(sum[:]), len(f[1]))
	}
	add(t, z, info+"RECORD", record+info+"RECORD,,\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func add(t testing.TB, z *zip.Writer, name, content string) {
	t.Helper()
	f, err := z.Create(name)
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// index is a package index on loopback.
type index struct {
	*httptest.Server
	files    map[string][]byte // by name
	requests atomic.Int64
	password string // when set, it is asked for
	status   int    // when set, every answer

	mu   sync.Mutex
	gate chan struct{} // when set, files wait for it to be closed; guarded by mu
	held chan string   // names of files that wait
}

func newIndex(t testing.TB, wheels ...wheel) *index {
	t.Helper()
	x := &index{files: map[string][]byte{}, held: make(chan string, 100)}
	for _, w := range wheels {
		x.files[w.file()] = w.bytes(t)
	}
	x.Server = httptest.NewServer(x)
	t.Cleanup(x.Close)
	return x
}

// hold makes files wait until release is called.
func (x *index) hold() (release func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	gate := make(chan struct{})
	x.gate = gate
	return sync.OnceFunc(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.gate = nil
		close(gate)
	})
}

func (x *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.requests.Add(1)
	if _, p, _ := r.BasicAuth(); x.password != "" && p != x.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="index"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if x.status != 0 {
		w.WriteHeader(x.status)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
		x.serveFile(w, r, name)
		return
	}
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, "/simple/"), "/")
	var links []string
	for file, content := range x.files {
		project, _, _ := strings.Cut(file, "-")
		if normalName(project) != name {
			continue
		}
		sum := sha256.Sum256(content)
		links = append(links, fmt.Sprintf(`<a href="/files/%s#sha256=%s">%s</a><br>`, file, hex.EncodeToString(sum[:]), file))
	}
	if len(links) == 0 {
		http.NotFound(w, r)
		return
	}
	slices.Sort(links)
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, "<!DOCTYPE html><html><body>%s</body></html>", strings.Join(links, "\n"))
}

func (x *index) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	content, ok := x.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	x.mu.Lock()
	gate := x.gate
	x.mu.Unlock()
	if gate != nil {
		x.held <- name
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(content)
}

// environ is an environment in which the index is the only one.
func (x *index) environ(t testing.TB) []string {
	home := t.TempDir()
	at := x.URL
	if x.password != "" {
		at = strings.Replace(at, "http://", "http://someone:"+x.password+"@", 1)
	}
	return []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "PIP_CONFIG_FILE=" + os.DevNull,
		"PIP_INDEX_URL=" + at + "/simple", "PIP_RETRIES=0", "UV_HTTP_RETRIES=0", "UV_NO_CONFIG=1",
	}
}

// tools are the backends under test: the setting of each.
func tools(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"pip": "off", "uv": installedUV(t)}
}

// forTools runs a test with each backend.
func forTools(t *testing.T, test func(t *testing.T, setting string)) {
	for name, setting := range tools(t) {
		t.Run(name, func(t *testing.T) { test(t, setting) })
	}
}

// installedUV gives uv: the one on PATH, else one that is installed with pip
// and kept for the next run.
var installedUVOnce struct {
	sync.Once
	path string
	err  error
}

func installedUV(t testing.TB) string {
	t.Helper()
	o := &installedUVOnce
	o.Do(func() { o.path, o.err = findOrInstallUV() })
	if o.err != nil {
		t.Fatalf("installing uv: %v", o.err)
	}
	return o.path
}

func findOrInstallUV() (string, error) {
	if path, err := exec.LookPath("uv"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sluice-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	held, err := lock(contextOf(), filepath.Join(dir, "uv.lock"))
	if err != nil {
		return "", err
	}
	defer held.Close()
	venv := filepath.Join(dir, "uv")
	path := filepath.Join(venv, "bin", "uv")
	if exec.Command(path, "--version").Run() == nil {
		return path, nil
	}
	if err := os.RemoveAll(venv); err != nil {
		return "", err
	}
	for _, c := range [][]string{{"python3", "-m", "venv", venv}, {envPython(venv), "-m", "pip", "install", "--quiet", "uv"}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w: %s", c, err, out)
		}
	}
	return path, nil
}

// python runs a program in an environment.
func python(t *testing.T, env Env, program string) string {
	t.Helper()
	out, err := exec.Command(env.Python, "-I", "-c", program).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return strings.TrimSpace(string(out))
}

// everyFile reads all files below dir and calls see with each.
func everyFile(t *testing.T, dir string, see func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		see(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
