package confine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

var nativeArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
