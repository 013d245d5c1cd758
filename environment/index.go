package environment

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/sluice-ml/sluice"
)

// settings are how this machine reaches its package index: what the tools are
// handed of the environment and of pip's configuration files.
type settings struct {
	pip     []string // environment of pip
	uv      []string // environment of uv
	index   string   // the index as configured, without password; "" for the default
	secrets []string // passwords that must not be written anywhere
	id      string   // changes when where packages come from does
	places  places   // the same, for asking without a tool
}

// passed are the variables every tool is given, if set. Nothing else of our
// own environment reaches them.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "NETRC", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "XDG_DATA_HOME",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
}

// passedPip are the settings of pip that say how to reach an index. What says
// where to install is not among them.
var passedPip = []string{
	"INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY",
	"DEFAULT_TIMEOUT", "TIMEOUT", "RETRIES", "CONFIG_FILE", "CACHE_DIR", "NO_CACHE_DIR", "KEYRING_PROVIDER",
}

var passedUV = []string{
	"INDEX", "DEFAULT_INDEX", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "INDEX_STRATEGY", "KEYRING_PROVIDER",
	"CACHE_DIR", "NO_CACHE", "HTTP_TIMEOUT", "REQUEST_TIMEOUT", "HTTP_RETRIES", "NATIVE_TLS", "SYSTEM_CERTS", "INSECURE_HOST",
	"OFFLINE", "CONFIG_FILE", "NO_CONFIG", "LINK_MODE", "CONCURRENT_DOWNLOADS", "CONCURRENT_INSTALLS", "EXCLUDE_NEWER",
}

// readSettings reads the settings from an environment and from pip's files.
// It starts no process.
func readSettings(environ []string) settings {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	conf := readPipFiles(env)
	pipValue := func(name string) string {
		if v := env["PIP_"+name]; v != "" {
			return v
		}
		return conf[name]
	}
	var s settings
	common := []string{"LC_ALL=C.UTF-8", "PYTHONUTF8=1"}
	for _, k := range passed {
		if v, ok := env[k]; ok {
			common = append(common, k+"="+v)
		}
	}
	s.pip = pipEnviron(slices.Clone(common), env, pipValue)
	s.uv = uvEnviron(slices.Clone(common), env, pipValue)
	var where strings.Builder
	for _, k := range []string{"INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"} {
		where.WriteString(k + "=" + pipValue(k) + "\n")
		s.addSecrets(pipValue(k))
	}
	for _, k := range []string{"INDEX", "DEFAULT_INDEX", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "EXCLUDE_NEWER"} {
		where.WriteString("UV_" + k + "=" + env["UV_"+k] + "\n")
		s.addSecrets(env["UV_"+k])
	}
	for k, v := range env {
		if strings.HasPrefix(k, "UV_INDEX_") && strings.HasSuffix(k, "_PASSWORD") && v != "" {
			s.secrets = append(s.secrets, v)
		}
		if strings.HasSuffix(strings.ToLower(k), "_proxy") {
			s.addSecrets(v)
		}
	}
	s.addSecrets(pipValue("PROXY"))
	s.index = redactURL(firstOf(pipValue("INDEX_URL"), env["UV_DEFAULT_INDEX"], env["UV_INDEX_URL"]))
	s.places = readPlaces(env, pipValue)
	sum := sha256.Sum256([]byte(where.String()))
	s.id = hex.EncodeToString(sum[:])
	return s
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// pipEnviron gives pip's environment. pip reads its own files; the settings of
// uv count where pip has none.
func pipEnviron(out []string, env map[string]string, pipValue func(string) string) []string {
	for _, k := range passedPip {
		if v, ok := env["PIP_"+k]; ok {
			out = append(out, "PIP_"+k+"="+v)
		}
	}
	if pipValue("INDEX_URL") == "" {
		if v := firstOf(env["UV_DEFAULT_INDEX"], env["UV_INDEX_URL"]); v != "" {
			out = append(out, "PIP_INDEX_URL="+withoutName(v))
		}
	}
	if pipValue("EXTRA_INDEX_URL") == "" {
		if v := firstOf(env["UV_INDEX"], env["UV_EXTRA_INDEX_URL"]); v != "" {
			out = append(out, "PIP_EXTRA_INDEX_URL="+withoutName(v))
		}
	}
	return append(out, "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_USER=0", "PIP_REQUIRE_VIRTUALENV=0", "PIP_ROOT_USER_ACTION=ignore")
}

// withoutName drops the names that uv allows before each address.
func withoutName(urls string) string {
	fields := strings.Fields(urls)
	for i, f := range fields {
		if name, u, ok := strings.Cut(f, "="); ok && !strings.Contains(name, ":") {
			fields[i] = u
		}
	}
	return strings.Join(fields, " ")
}

// uvEnviron gives uv's environment. uv knows nothing of pip's settings: they
// are handed to it under its own names, where it has none of its own.
func uvEnviron(out []string, env map[string]string, pipValue func(string) string) []string {
	set := map[string]bool{}
	for _, k := range passedUV {
		if v, ok := env["UV_"+k]; ok {
			out = append(out, "UV_"+k+"="+v)
			set[k] = true
		}
	}
	for k, v := range env {
		if strings.HasPrefix(k, "UV_INDEX_") && (strings.HasSuffix(k, "_USERNAME") || strings.HasSuffix(k, "_PASSWORD")) {
			out = append(out, k+"="+v)
		}
	}
	give := func(value, name string, unless ...string) {
		if value == "" || slices.ContainsFunc(unless, func(k string) bool { return set[k] }) {
			return
		}
		out = append(out, "UV_"+name+"="+value)
	}
	give(pipValue("INDEX_URL"), "DEFAULT_INDEX", "DEFAULT_INDEX", "INDEX_URL")
	give(strings.Join(strings.Fields(pipValue("EXTRA_INDEX_URL")), " "), "INDEX", "INDEX", "EXTRA_INDEX_URL")
	give(existingLinks(pipValue("FIND_LINKS")), "FIND_LINKS", "FIND_LINKS")
	give(strings.Join(strings.Fields(pipValue("TRUSTED_HOST")), " "), "INSECURE_HOST", "INSECURE_HOST")
	give(firstOf(pipValue("DEFAULT_TIMEOUT"), pipValue("TIMEOUT")), "HTTP_TIMEOUT", "HTTP_TIMEOUT", "REQUEST_TIMEOUT")
	if v := pipValue("NO_INDEX"); v != "" && v != "0" && v != "false" {
		give("1", "NO_INDEX", "NO_INDEX")
	}
	if cert := pipValue("CERT"); cert != "" && env["SSL_CERT_FILE"] == "" {
		out = append(out, "SSL_CERT_FILE="+cert)
	}
	if proxy := pipValue("PROXY"); proxy != "" && env["HTTPS_PROXY"] == "" && env["https_proxy"] == "" && env["ALL_PROXY"] == "" {
		if !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		out = append(out, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy)
	}
	return append(out, "UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1", "NO_COLOR=1")
}

// with gives the settings for a plan's own options: what they say goes before
// what the machine says, as it does with pip. uv sees it the other way round.
func (s settings) with(options []string) settings {
	s.secrets = slices.Clone(s.secrets)
	s.places = s.places.with(options)
	for _, o := range options {
		name, value, _ := strings.Cut(o, " ")
		s.addSecrets(value)
		if name == "--index-url" {
			s.index = redactURL(value)
			s.uv = slices.DeleteFunc(slices.Clone(s.uv), func(kv string) bool {
				return strings.HasPrefix(kv, "UV_DEFAULT_INDEX=") || strings.HasPrefix(kv, "UV_INDEX_URL=")
			})
		}
	}
	return s
}

// existingLinks turns pip's list of places with wheels into uv's. A folder that
// is not there is nothing to pip, and an error to uv.
func existingLinks(list string) string {
	var kept []string
	for _, l := range strings.Fields(list) {
		if !strings.Contains(l, "://") {
			if _, err := os.Stat(l); err != nil {
				continue
			}
		}
		kept = append(kept, l)
	}
	return strings.Join(kept, ",")
}

// pipFiles gives pip's configuration files, later ones winning.
func pipFiles(env map[string]string) []string {
	file := env["PIP_CONFIG_FILE"]
	if file == os.DevNull {
		return nil
	}
	var files []string
	for d := range strings.SplitSeq(firstOf(env["XDG_CONFIG_DIRS"], "/etc/xdg"), ":") {
		files = append(files, filepath.Join(d, "pip", "pip.conf"))
	}
	files = append(files, "/etc/pip.conf")
	if home := env["HOME"]; home != "" {
		files = append(files, filepath.Join(home, ".pip", "pip.conf"))
		if runtime.GOOS == "darwin" {
			files = append(files, filepath.Join(home, "Library", "Application Support", "pip", "pip.conf"))
		}
		files = append(files, filepath.Join(firstOf(env["XDG_CONFIG_HOME"], filepath.Join(home, ".config")), "pip", "pip.conf"))
	}
	if file != "" {
		files = append(files, file)
	}
	return files
}

// readPipFiles gives what pip's files say for installing, by the names of the
// variables that would say the same.
func readPipFiles(env map[string]string) map[string]string {
	all := map[string]string{}
	for _, section := range []string{"global", "download", "install"} {
		for _, path := range pipFiles(env) {
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			for k, v := range parsePipConf(io.LimitReader(f, 1<<20), section) {
				all[k] = v
			}
			f.Close()
		}
	}
	return all
}

// parsePipConf reads one section of a file of pip's. A value may go on over
// indented lines.
func parsePipConf(r io.Reader, section string) map[string]string {
	values := map[string]string{}
	in, last := false, ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		raw := lines.Text()
		line := strings.TrimSpace(raw)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			in, last = line == "["+section+"]", ""
		case !in:
		case (raw[0] == ' ' || raw[0] == '\t') && last != "":
			values[last] = strings.TrimSpace(values[last] + " " + line)
		default:
			i := strings.IndexAny(line, "=:")
			if i < 0 {
				continue
			}
			last = strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(line[:i]), "-", "_"))
			values[last] = strings.TrimSpace(line[i+1:])
		}
	}
	return values
}

// redactURL takes the user and password out of every address in s.
func redactURL(s string) string { return sluice.RedactURLs(s) }

// addSecrets keeps the passwords of the addresses in s for redaction.
func (s *settings) addSecrets(text string) {
	for field := range strings.FieldsSeq(text) {
		u, err := url.Parse(withoutName(field))
		if err != nil || u.User == nil {
			continue
		}
		password, ok := u.User.Password()
		if !ok {
			password = u.User.Username() // a token alone
		}
		if len(password) > 3 {
			s.secrets = append(s.secrets, password, url.QueryEscape(password))
		}
	}
}

// redact takes every known password out of a line.
func (s settings) redact(line string) string {
	line = redactURL(line)
	for _, secret := range s.secrets {
		line = strings.ReplaceAll(line, secret, "****")
	}
	return line
}
