package home

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
)

// Config is sluice.yml. The zero value is not useful; start from [Default].
type Config struct {
	API     API     `yaml:"api"`
	Gateway Gateway `yaml:"gateway"`
	Engine  Engine  `yaml:"engine"`
	Python  Python  `yaml:"python"`
	Disk    Disk    `yaml:"disk"`
	Log     Log     `yaml:"log"`
}

// API is where the REST interface listens.
type API struct {
	Listen string `yaml:"listen"` // host:port
}

// Gateway is where endpoints listen, and what one request may be.
type Gateway struct {
	Listen    string        `yaml:"listen"`      // host:port
	Domain    string        `yaml:"domain"`      // when set, endpoints are <name>.<domain>
	MaxBody   int64         `yaml:"max_body"`    // bytes of one request body
	IdleAfter time.Duration `yaml:"idle_after"`  // an idle connection is closed after this long
	Header    time.Duration `yaml:"header_time"` // a request's head must have arrived within this
}

// Engine is how instances are run.
type Engine struct {
	// StrictCapacity refuses instance types that are larger than the machine,
	// instead of hosting them with what is there.
	StrictCapacity bool `yaml:"strict_capacity"`
}

// Python is how environments are made.
type Python struct {
	UV string `yaml:"uv"` // path of uv; "" to look on PATH, "off" never to use it
	// SourceBuilds lets environments that ask for it have packages built from
	// source, which runs code of theirs.
	SourceBuilds bool   `yaml:"source_builds"`
	BuildUser    uint32 `yaml:"build_user"` // number of the user and group that they are built as
}

// Disk is how much room uploaded files and environments may take.
type Disk struct {
	Budget Size `yaml:"budget"` // of both together, e.g. 20GiB; 0 for no limit but the disk's
	Warn   int  `yaml:"warn"`   // percent of the budget at which to warn
}

// Log is how much Sluice's own processes write.
type Log struct {
	Level string `yaml:"level"` // debug, info, warn, error
}

// Default gives every setting's default.
func Default() Config {
	return Config{
		API: API{Listen: "localhost:7443"},
		Gateway: Gateway{Listen: "localhost:8443", MaxBody: 100 << 20,
			IdleAfter: 2 * time.Minute, Header: 10 * time.Second},
		Python: Python{BuildUser: 60987}, // which no system gives to anybody
		Disk:   Disk{Warn: 80},
		Log:    Log{Level: "info"},
	}
}

// Load reads sluice.yml from the state directory over the defaults, and the
// environment variables named below over that. A missing file means defaults;
// an unknown key or a bad value is an error with its line.
func (d Dir) Load() (Config, error) {
	c := Default()
	text, err := os.ReadFile(d.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("reading settings: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil {
		return c, located(d.Config(), err)
	}
	if c == (Config{}) {
		c = Default() // a file that says nothing empties all that it is read into
	}
	for name, setting := range map[string]*string{EnvAPIListen: &c.API.Listen, EnvGatewayListen: &c.Gateway.Listen} {
		if v := os.Getenv(name); v != "" {
			*setting = v
		}
	}
	if os.Getenv(EnvStrictCapacity) != "" {
		c.Engine.StrictCapacity = true
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("reading settings from %s: %w", d.Config(), err)
	}
	return c, nil
}

// located says where in the file the settings cannot be read, on one line.
func located(file string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		return fmt.Errorf("reading settings from %s: %w", file, err)
	}
	position := at.GetToken().Position
	return fmt.Errorf("reading settings: %s:%d:%d: %s (`sluice config show` prints every setting there is)",
		file, position.Line, position.Column, at.GetMessage())
}

// Environment variables that beat the file. The parent tells its children with
// them where they really listen, and what its flags said.
const (
	EnvAPIListen      = "SLUICE_API_LISTEN"
	EnvGatewayListen  = "SLUICE_GATEWAY_LISTEN"
	EnvStrictCapacity = "SLUICE_STRICT_CAPACITY"
)

// URL gives the address of a listening setting as users write it: a server
// that listens on every or a loopback address is called localhost.
func URL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Loopback reports whether a listening setting can be reached from this
// machine only.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Validate checks what can be judged without trying it.
func (c Config) Validate() error {
	for key, address := range map[string]string{"api.listen": c.API.Listen, "gateway.listen": c.Gateway.Listen} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("%s: %q is not host:port", key, address)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%s: the port of %q is not a number from 0 to 65535", key, address)
		}
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("log.level: %q is not one of debug, info, warn, error", c.Log.Level)
	}
	if c.Python.BuildUser == 0 {
		return errors.New("python.build_user must be the number of a user, and not root's")
	}
	if c.Gateway.MaxBody < 1 {
		return errors.New("gateway.max_body must be at least 1 byte")
	}
	if c.Disk.Warn < 1 || c.Disk.Warn > 100 {
		return fmt.Errorf("disk.warn: %d is not a percentage from 1 to 100", c.Disk.Warn)
	}
	return nil
}
