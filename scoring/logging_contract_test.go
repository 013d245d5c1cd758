//go:build unix

package scoring

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
)

const loggingJSON = `{"version": 1,
 "formatters": {"own": {"format": "OWN|%(levelname)s|%(name)s|%(message)s"},
                "theirs": {"class": "azureml_inference_server_http.log_config.AMLLogFormatter", "format": "THEIRS|%(levelname).1s|%(name)s|%(message)s", "style": "%"}},
 "filters": {"root": {"()": "azureml_inference_server_http.log_config.RootAccessFilter"}},
 "handlers": {"own": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "own"},
              "theirs": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "theirs", "filters": ["root"]}},
 "loggers": {"azmlinfsrv": {"level": "LEVEL", "handlers": ["own"], "propagate": false},
             "mine": {"level": "DEBUG", "handlers": ["theirs"]}}}`

func TestContractLogging(t *testing.T) {
	const script = `
import logging, sys
def init():
    print("MARK init")
def run(data):
    print("MARK", data, sep="-")
    logging.getLogger("mine").debug("MARK mine\nMARK second line")
    logging.getLogger("mine").info("MARK GET / HTTP/1.1")
    logging.getLogger("azmlinfsrv").warning("MARK theirs")
    logging.getLogger("other").error("MARK other")
    print("MARK past the loggers", file=sys.stderr)
    return data
`
	for _, level := range []string{"INFO", "WARNING"} {
		t.Run(level, func(t *testing.T) {
			dir := t.TempDir()
			text := strings.Replace(loggingJSON, "LEVEL", level, 1)
			if err := os.WriteFile(filepath.Join(dir, "logging.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			// The app root is where the file is looked for first.
			env := []string{"AML_APP_ROOT=" + dir}
			original, ours := startOriginal(t, script, env...), startWith(t, script, env)
			marked := func(r *running) (out []string) {
				for line := range strings.SplitSeq(r.log.String(), "\n") {
					if strings.Contains(line, "MARK") && !strings.Contains(line, "MARK past") || strings.HasPrefix(line, "MARK past") {
						out = append(out, line)
					}
				}
				return out
			}
			for _, r := range []*running{original, ours} {
				r.send("POST", "/score", "a", "Content-Type", "text/plain").wants(t, 200, `"a"`)
				r.logs("^MARK past the loggers")
				r.logs(`azmlinfsrv\|MARK theirs`)
			}
			order := cmp.Transformer("sorted", sortedLines)
			if diff := cmp.Diff(marked(original), marked(ours), order); diff != "" {
				t.Errorf("log (-original +ours):\n%s", diff)
			}
			if said := strings.Contains(ours.log.String(), "POST /score 200"); said != (level == "INFO") {
				t.Errorf("a request is said at level %s: %t", level, said)
			}
		})
	}
}

// sortedLines is for the lines of two pipes, which have no common order.
func sortedLines(lines []string) map[string]int {
	out := map[string]int{}
	for _, line := range lines {
		out[line]++
	}
	return out
}

func TestSilences(t *testing.T) {
	for text, want := range map[string]bool{
		`{"loggers": {"azmlinfsrv": {"level": "INFO"}}}`:     false,
		`{"loggers": {"azmlinfsrv": {"level": "error"}}}`:    true,
		`{"loggers": {"azmlinfsrv": {"level": 30}}}`:         true,
		`{"loggers": {"azmlinfsrv": {}}}`:                    false,
		`{"loggers": {"mine": {"level": "INFO"}}}`:           true,
		`{"loggers": {}, "disable_existing_loggers": false}`: false,
		`{"loggers": 1}`: false,
		`nonsense`:       false,
	} {
		if got := silences([]byte(text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}

func TestLoggingThatCannotBeUsed(t *testing.T) {
	var cause *sluice.Cause
	err := fails(t, echo, func(s *Settings) {
		s.Logging = filepath.Join(s.AppRoot, "logging.json")
		if err := os.WriteFile(s.Logging, []byte(`{"version": 1, "handlers": {"h": {"class": "no.such.Handler"}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.As(err, &cause) || cause.Code != sluice.CauseBadValue || !strings.Contains(cause.Message, "logging.json cannot be used: Unable to configure handler 'h'") {
		t.Errorf("got %v", err)
	}
}

func TestDebugger(t *testing.T) {
	port := func(s *Settings) { s.DebugPort = 5678 }
	bare := barePython(t)
	var cause *sluice.Cause
	err := fails(t, echo, port, interpreter(bare))
	if !errors.As(err, &cause) || cause.Code != sluice.CauseImportMissing || !strings.Contains(cause.Message, "module debugpy is not installed") {
		t.Errorf("without debugpy: %v", err)
	}
	with := func(body string) option {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "debugpy.py"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return environ("PYTHONPATH=" + dir)
	}
	err = fails(t, echo, port, interpreter(bare), with("def connect(port): raise ConnectionRefusedError(111, 'Connection refused')"))
	if !errors.As(err, &cause) || !strings.Contains(cause.Message, "no debugger listens at port 5678") {
		t.Errorf("without a debugger: %v", err)
	}
	r := start(t, "import debugpy\ndef init(): assert debugpy.told == [5678, 'waited']\ndef run(data): return data\n", port, interpreter(bare),
		with("told = []\ndef connect(port): told.append(port)\ndef wait_for_client(): told.append('waited')\n"))
	r.logs(`!! Starting the inference server in DEBUGGING mode because AZUREML_DEBUG_PORT is set\.$`)
	r.logs(`\*\* Connecting to debugger at port 5678\.\.\.$`)
}

// TestPythonPath imports what is provided as a test of a script would.
func TestPythonPath(t *testing.T) {
	cache := t.TempDir()
	dir, err := pythonPath(cache)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(barePython(t), "-c", `
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
import azureml_inference_server_http as server
import azureml_inference_server_http.api.aml_request, azureml_inference_server_http.log_config
import azureml.contrib.services.aml_request as alias
assert alias is azureml_inference_server_http.api.aml_request and alias.AMLRequest is AMLRequest
assert not alias._rawHttpRequested
@rawhttp
def run(request): return AMLResponse("x", 200)
assert alias._rawHttpRequested
print(server.__version__, run(None).get_data(as_text=True))
`)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != ContractVersion+" x" {
		t.Errorf("%v: %s", err, out)
	}
	// What somebody has changed is put right, and what Python adds is left.
	again, err := pythonPath(cache)
	if err != nil || again != dir {
		t.Errorf("the folder is %s, %v, and was %s", again, err, dir)
	}
	version := filepath.Join(dir, "azureml_inference_server_http", "_version.py")
	if err := os.WriteFile(version, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pythonPath(cache); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(version); err != nil || !strings.Contains(string(text), ContractVersion) {
		t.Errorf("the file is %q, %v", text, err)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
