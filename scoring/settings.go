package scoring

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// ContractVersion is the version of azureml-inference-server-http whose
// behaviour this server has, and which its version header names.
const ContractVersion = "1.5.1"

// The defaults and limits.
const (
	DefaultPort       = 5001
	DefaultHealthPort = 5000
	DefaultTimeout    = time.Hour
	DefaultGrace      = 30 * time.Second
	DefaultQueue      = 1024
	DefaultAskAfter   = 5 * time.Second
	DefaultMaxBody    = 1 << 30 // bytes
	defaultAppRoot    = "/var/azureml-app"
)

// Settings are everything a scoring server is told.
type Settings struct {
	EntryScript string // absolute, or relative to AppRoot; "" for module main
	AppRoot     string
	MLflow      bool   // serve the MLflow model in ModelDir instead of a script
	SourceDir   string // relative to AppRoot; "" for none
	ModelDir    string // as typed
	Python      string // path or name of the interpreter
	Socket      string // listen here instead of Port
	Port        int
	HealthPort  int // 0 for none of its own
	Workers     int
	Timeout     time.Duration // of one run(); 0 for none
	Grace       time.Duration // after the first polite signal
	AskAfter    time.Duration // of a slow start, until the worker is asked where it stands
	Queue       int           // requests that may wait
	MaxBody     int64         // bytes of one request
	Version     string        // value of the version header; "" for no header
	CrossOrigin *CrossOrigin  // pages that may read answers; nil for no word of it
	Logging     string        // file that configures the workers' loggers; "" for none
	NoAccessLog bool          // it leaves out what is said of each request
	DebugPort   int           // of the debugger that workers connect to; 0 for none
	Service     Service       // what it is called in its description
	Termination string        // file for the cause of a failed start; "" for none
	// MemoryGroup is the folder of the control group that bounds our memory; ""
	// for none.
	MemoryGroup string
	// Environ is the environment of the workers, "key=value".
	Environ []string
	// Notices are what the user should know about settings that have no effect.
	Notices []string
}

// Service is what the description of a service (/swagger.json) calls it.
type Service struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Prefix  string `json:"prefix"` // of the paths
}

// environment is a small ordered set of variables with the original's rules
// for who wins.
type environment struct {
	values map[string]string
	order  []string
}

func newEnvironment(environ []string) *environment {
	e := &environment{values: map[string]string{}}
	for _, pair := range environ {
		if key, value, ok := strings.Cut(pair, "="); ok && key != "" {
			e.set(key, value)
		}
	}
	return e
}

func (e *environment) set(key, value string) {
	if _, ok := e.values[key]; !ok {
		e.order = append(e.order, key)
	}
	e.values[key] = value
}

func (e *environment) setDefault(key, value string) {
	if _, ok := e.values[key]; !ok {
		e.set(key, value)
	}
}

func (e *environment) get(key string) string { return e.values[key] }

func (e *environment) lookup(key string) (string, bool) {
	value, ok := e.values[key]
	return value, ok
}

func (e *environment) list(without ...string) []string {
	out := make([]string, 0, len(e.order))
next:
	for _, key := range e.order {
		for _, w := range without {
			if key == w {
				continue next
			}
		}
		out = append(out, key+"="+e.values[key])
	}
	return out
}

// Resolve turns flags and the environment into settings, with the original's
// priorities: flag, then variable, then default. dir is the working directory.
func Resolve(f Flags, environ []string, dir string) (Settings, error) {
	env := newEnvironment(environ)
	s := Settings{Port: DefaultPort, Socket: f.Socket, Termination: env.get("SLUICE_TERMINATION_FILE")}
	if err := s.resolveScript(f, env, dir); err != nil {
		return Settings{}, err
	}
	if f.ModelDir != nil {
		env.set("AZUREML_MODEL_DIR", *f.ModelDir)
	}
	file, err := s.readConfigFile(env)
	if err != nil {
		return Settings{}, err
	}
	both := overlay(file, env)
	s.EntryScript, s.SourceDir, s.ModelDir = both.get("AZUREML_ENTRY_SCRIPT"), both.get("AZUREML_SOURCE_DIRECTORY"), both.get("AZUREML_MODEL_DIR")
	if s.MLflow {
		if s.ModelDir == "" {
			return Settings{}, sluice.Errorf(sluice.CodeInvalid, "--mlflow needs the folder of the model: give --model_dir")
		}
		s.EntryScript, s.SourceDir = "", ""
	}
	s.resolveLogging()
	both.setDefault("SERVICE_NAME", "ML service")
	both.setDefault("SERVICE_VERSION", "1.0")
	s.Service = Service{both.get("SERVICE_NAME"), both.get("SERVICE_VERSION"), both.get("SERVICE_PATH_PREFIX")}
	if err := s.resolveOrigins(f, env); err != nil {
		return Settings{}, err
	}
	env.setDefault("TRANSPORT_PROTOCOL", "grpc")
	s.noteAppInsights(f, env)
	if env.get("WORKER_PRELOAD") == "true" {
		s.Notices = append(s.Notices, "WORKER_PRELOAD has no effect: every worker loads the model itself.")
	}
	s.resolvePorts(f, env)
	s.resolveVersion(env)
	s.resolvePython(f, env)
	if err := s.resolveNumbers(f, env, both); err != nil {
		return Settings{}, err
	}
	s.MemoryGroup = env.get("SLUICE_MEMORY_GROUP")
	s.Environ = env.list("SLUICE_TERMINATION_FILE", "SLUICE_MEMORY_GROUP", "LISTEN_PID", "LISTEN_FDS")
	return s, nil
}

// resolveScript settles where the code is. The original wants the script or a
// configuration file as a flag; as "scoring" the variable will do as well.
func (s *Settings) resolveScript(f Flags, env *environment, dir string) error {
	env.setDefault("AML_APP_ROOT", dir)
	switch {
	case f.MLflow && (f.EntryScript != "" || f.ConfigFile != ""):
		return sluice.Errorf(sluice.CodeInvalid, "--mlflow serves a model without a script: it goes with neither --entry_script nor --config_file")
	case f.MLflow:
		s.MLflow = true
		env.set("AZUREML_ENTRY_SCRIPT", "") // an inherited one does not count
	case f.EntryScript != "":
		env.set("AZUREML_ENTRY_SCRIPT", realPath(dir, f.EntryScript))
	case f.ConfigFile == "" && (f.Strict || env.get("AZUREML_ENTRY_SCRIPT") == ""):
		return sluice.Errorf(sluice.CodeInvalid,
			"Either provide an entry_script using --entry_script or provide a path to the configuration file using --config_file")
	}
	if f.ConfigFile != "" {
		env.set("AZUREML_CONFIG_FILE", realPath(dir, f.ConfigFile))
	}
	s.AppRoot = env.get("AML_APP_ROOT")
	if s.AppRoot == "" {
		s.AppRoot = defaultAppRoot
	}
	if !filepath.IsAbs(s.AppRoot) {
		s.AppRoot = filepath.Join(dir, s.AppRoot)
	}
	return nil
}

func (s *Settings) noteAppInsights(f Flags, env *environment) {
	if f.AppInsightsKey != "" || env.get("AML_APP_INSIGHTS_ENABLED") == "true" {
		s.Notices = append(s.Notices, "Application Insights has been disabled: it is not built yet.")
	}
	env.set("AML_APP_INSIGHTS_ENABLED", "false")
}

func (s *Settings) resolveOrigins(f Flags, env *environment) (err error) {
	if f.Origins != "" {
		env.set("AML_CORS_ORIGINS", f.Origins)
	}
	if list := env.get("AML_CORS_ORIGINS"); list != "" {
		s.CrossOrigin, err = newCrossOrigin(list)
	}
	return err
}

func (s *Settings) resolvePorts(f Flags, env *environment) {
	if f.Port != 0 {
		s.Port = f.Port
	}
	env.set("SERVER_PORT", strconv.Itoa(s.Port)) // an inherited one does not count
	switch {
	case env.get("SEPERATE_HEALTH_ENDPOINT") != "true": // the spelling is the contract's
		if f.Port != 0 {
			env.set("HEALTH_PORT", strconv.Itoa(f.Port))
		}
		env.setDefault("HEALTH_PORT", strconv.Itoa(DefaultPort))
		return
	case s.Socket != "":
		s.Notices = append(s.Notices, "No health port is opened: the server listens on a socket, which answers health as well.")
	default:
		s.HealthPort = DefaultHealthPort
		if f.HealthPort != 0 {
			s.HealthPort = f.HealthPort
		}
	}
	env.set("HEALTH_PORT", strconv.Itoa(s.HealthPort))
}

func (s *Settings) resolveVersion(env *environment) {
	on, ok := env.lookup("SERVER_VERSION_LOG_RESPONSE_ENABLED")
	if !ok || strings.EqualFold(on, "true") {
		env.set("HTTP_X_MS_SERVER_VERSION", "azmlinfsrv/"+ContractVersion)
	}
	s.Version = env.get("HTTP_X_MS_SERVER_VERSION")
}

func (s *Settings) resolvePython(f Flags, env *environment) {
	switch dir := env.get("AZUREML_INFERENCE_PYTHON_PATH"); {
	case f.Python != "":
		s.Python = f.Python
	case dir != "":
		s.Python = filepath.Join(dir, "python")
	default:
		s.Python = "python3"
	}
}

func (s *Settings) resolveNumbers(f Flags, env, both *environment) error {
	if f.Workers != 0 {
		env.set("WORKER_COUNT", strconv.Itoa(f.Workers))
	}
	env.setDefault("WORKER_COUNT", "1")
	both.set("WORKER_COUNT", env.get("WORKER_COUNT"))
	number := func(key string, fallback, least, most int64) (int64, error) {
		text, ok := both.lookup(key)
		if !ok {
			return fallback, nil
		}
		if text == "" && fallback == 0 {
			return 0, nil
		}
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return 0, &sluice.Error{Code: sluice.CodeInvalid, Target: key,
				Message: "Input should be a valid integer, unable to parse string as an integer"}
		}
		if n < least || n > most {
			return 0, &sluice.Error{Code: sluice.CodeInvalid, Target: key,
				Message: fmt.Sprintf("Input should be %d to %d", least, most)}
		}
		return n, nil
	}
	workers, err := number("WORKER_COUNT", 1, 1, 1024)
	if err != nil {
		return err
	}
	const longest = int64(365 * 24 * time.Hour / time.Millisecond)
	timeout, err := number("SCORING_TIMEOUT_MS", DefaultTimeout.Milliseconds(), 0, longest)
	if err != nil {
		return err
	}
	grace, err := number("SLUICE_GRACE_MS", DefaultGrace.Milliseconds(), 0, longest)
	if err != nil {
		return err
	}
	ask, err := number("SLUICE_ASK_AFTER_MS", DefaultAskAfter.Milliseconds(), 1, longest)
	if err != nil {
		return err
	}
	queue, err := number("SLUICE_QUEUE", DefaultQueue, 1, 1<<20)
	if err != nil {
		return err
	}
	body, err := number("SLUICE_MAX_BODY_BYTES", DefaultMaxBody, 1, 1<<40)
	if err != nil {
		return err
	}
	port, err := number("AZUREML_DEBUG_PORT", 0, 1, 65535)
	if err != nil {
		return err
	}
	s.DebugPort = int(port)
	s.Workers, s.Queue, s.MaxBody = int(workers), int(queue), body
	s.Timeout, s.Grace = time.Duration(timeout)*time.Millisecond, time.Duration(grace)*time.Millisecond
	s.AskAfter = time.Duration(ask) * time.Millisecond
	return nil
}

// realPath gives a path as the original's os.path.realpath does: absolute, with
// links followed as far as the path exists.
func realPath(dir, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}
