package scoring

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// resolveLogging finds the file by which loggers are configured: logging.json
// in the app root, else beside the script. The workers load it. The server's own
// lines keep their form, but it says none of a request that its logger would not
// say.
func (s *Settings) resolveLogging() {
	script := s.EntryScript
	if script != "" && !filepath.IsAbs(script) {
		script = filepath.Join(s.AppRoot, script)
	}
	for _, folder := range []string{s.AppRoot, filepath.Dir(script)} {
		path := filepath.Join(folder, "logging.json")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			s.Logging, s.NoAccessLog = path, silencesAccess(path)
			return
		}
	}
}

const levelInfo = 20 // of Python's logging

// silencesAccess reports whether a configuration of loggers leaves out what
// logger azmlinfsrv has at level INFO. A file that cannot be read is the
// workers' to complain of.
func silencesAccess(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile))
	if err != nil {
		return false
	}
	return silences(text)
}

func silences(text []byte) bool {
	var config struct {
		Loggers map[string]struct {
			Level any `json:"level"`
		} `json:"loggers"`
		Keep        *bool `json:"disable_existing_loggers"`
		Incremental bool  `json:"incremental"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return false
	}
	logger, named := config.Loggers["azmlinfsrv"]
	if !named {
		return !config.Incremental && (config.Keep == nil || *config.Keep)
	}
	switch level := logger.Level.(type) {
	case float64:
		return level > levelInfo
	case string:
		switch strings.ToUpper(level) {
		case "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL":
			return true
		}
		n, err := strconv.Atoi(level)
		return err == nil && n > levelInfo
	}
	return false
}
