package parent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluice-ml/sluice"
)

// Flags that change where each child listens.
var listenFlags = map[string]string{"server": "--api-listen", "gateway": "--gateway-listen"}

// listenError says why a socket could not be opened, who holds the port, and
// the flag that chooses another.
func listenError(name, address string, err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return &sluice.Cause{Code: sluice.CauseBadValue,
			Message: fmt.Sprintf("the %s cannot listen on %s: this machine has no such address", name, address),
			Hint:    fmt.Sprintf("choose another: sluice up %s localhost:PORT, or 0.0.0.0:PORT for every address", listenFlags[name])}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listening on %s for the %s: %w", address, name, err)
	}
	_, port, _ := net.SplitHostPort(address)
	holder := ""
	if h := portHolder(port); h != "" {
		holder = " by " + h
	}
	return &sluice.Cause{
		Code:    sluice.CausePortTaken,
		Message: fmt.Sprintf("port %s, where the %s should listen, is taken%s", port, name, holder),
		Hint:    fmt.Sprintf("choose another: sluice up %s localhost:PORT", listenFlags[name]),
	}
}

// portHolder names the process that listens on a TCP port, "" when the system
// does not tell.
func portHolder(port string) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeningInodes(table, port, inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range descriptors {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return ""
}

// listeningInodes adds the sockets of a kernel table that listen on the port,
// as /proc/PID/fd shows them.
func listeningInodes(table, port string, into map[string]bool) {
	number, err := strconv.Atoi(port)
	if err != nil {
		return
	}
	text, err := os.ReadFile(table)
	if err != nil {
		return
	}
	suffix := fmt.Sprintf(":%04X", number)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == "0A" {
			into["socket:["+fields[9]+"]"] = true
		}
	}
}
