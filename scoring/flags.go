package scoring

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Flags are the flags as typed; zero values mean not given.
type Flags struct {
	EntryScript    string
	ModelDir       *string
	Port           int
	HealthPort     int
	Workers        int
	AppInsightsKey string
	Origins        string
	ConfigFile     string
	Socket         string
	Python         string
	Help           bool
	PythonPath     bool
	// MLflow asks for the MLflow model in ModelDir to be served, without a script.
	MLflow bool
	// Strict asks for what the original command insists on: an entry script
	// given as a flag, whatever the environment says.
	Strict bool
}

// Usage is the help text.
const Usage = `usage: sluice-runner scoring [options]

Serves a scoring script over HTTP: POST /score calls its run(). With --mlflow,
serves an MLflow model without a script: POST /score takes Azure's input_data,
POST /invocations what MLflow's own server takes.

options:
  --entry_script FILE        the scoring script (also AZUREML_ENTRY_SCRIPT)
  --model_dir DIR            folder of the model (also AZUREML_MODEL_DIR)
  --mlflow                   serve the MLflow model in --model_dir, without a script
  --port PORT                TCP port to listen on (5001)
  --socket PATH              listen on this Unix socket instead
  --health_port PORT         second port (5000), with SEPERATE_HEALTH_ENDPOINT=true
  --worker_count N           Python processes (1; also WORKER_COUNT)
  --python PATH              interpreter (else AZUREML_INFERENCE_PYTHON_PATH/python, else python3)
  --config_file FILE         settings as JSON (also AZUREML_CONFIG_FILE)
  --access_control_allow_origins LIST
                             pages that may read answers (CORS): origins with commas between, or *
  --appinsights_instrumentation_key KEY
                             not built yet
  --python-path              print a folder with what scripts import of Azure's server, for tests
                             and editors: PYTHONPATH=$(sluice-runner scoring --python-path) pytest
  -h, --help                 show this text
`

// ours are the flags that the original does not have. They have no prefixes,
// so that a prefix means what it means there.
var ours = []string{"socket", "python", "python-path", "mlflow"}

var originals = []string{"help", "entry_script", "model_dir", "port", "health_port", "worker_count",
	"appinsights_instrumentation_key", "access_control_allow_origins", "config_file", "rest"}

// ParseFlags reads the arguments: --flag value, --flag=value and unique
// prefixes, as the original takes them.
func ParseFlags(args []string) (Flags, error) {
	var f Flags
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "-h" {
			arg = "--help"
		}
		typed, ok := strings.CutPrefix(arg, "--")
		if !ok {
			return f, sluice.Errorf(sluice.CodeInvalid, "unrecognized arguments: %s", arg)
		}
		typed, value, given := strings.Cut(typed, "=")
		name, err := flagName(typed)
		if err != nil {
			return f, err
		}
		if name == "help" || name == "rest" || name == "python-path" || name == "mlflow" {
			if given {
				return f, sluice.Errorf(sluice.CodeInvalid, "argument --%s: ignored explicit argument %q", name, value)
			}
			f.Help = f.Help || name == "help"
			f.PythonPath = f.PythonPath || name == "python-path"
			f.MLflow = f.MLflow || name == "mlflow"
			continue
		}
		if !given {
			if len(args) == 0 || strings.HasPrefix(args[0], "--") {
				return f, sluice.Errorf(sluice.CodeInvalid, "argument --%s: expected one argument", name)
			}
			value, args = args[0], args[1:]
		}
		if err := f.set(name, value); err != nil {
			return f, err
		}
	}
	return f, nil
}

func flagName(typed string) (string, error) {
	if slices.Contains(ours, typed) || slices.Contains(originals, typed) {
		return typed, nil
	}
	var found []string
	for _, name := range originals {
		if typed != "" && strings.HasPrefix(name, typed) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		err := sluice.Errorf(sluice.CodeInvalid, "unrecognized arguments: --%s", typed)
		if near := sluice.Nearest(typed, append(slices.Clone(originals), ours...), 1); len(near) > 0 {
			err = err.WithHint("did you mean --%s?", near[0])
		}
		return "", err
	case 1:
		return found[0], nil
	}
	return "", sluice.Errorf(sluice.CodeInvalid, "ambiguous option: --%s could match --%s", typed, strings.Join(found, ", --"))
}

func (f *Flags) set(name, value string) error {
	var err error
	switch name {
	case "entry_script":
		f.EntryScript = value
	case "model_dir":
		f.ModelDir = &value
	case "port":
		f.Port, err = number(name, value, 1, 65535)
	case "health_port":
		f.HealthPort, err = number(name, value, 1, 65535)
	case "worker_count":
		f.Workers, err = number(name, value, 1, 1024)
	case "appinsights_instrumentation_key":
		f.AppInsightsKey = value
	case "access_control_allow_origins":
		f.Origins = value
	case "config_file":
		f.ConfigFile = value
	case "socket":
		f.Socket = value
	case "python":
		f.Python = value
	default:
		err = fmt.Errorf("flag --%s has no field", name)
	}
	return err
}

func number(name, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < least || n > most {
		return 0, sluice.Errorf(sluice.CodeInvalid, "argument --%s: invalid value %q: it must be %d to %d", name, value, least, most)
	}
	return n, nil
}
