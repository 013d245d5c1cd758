//go:build !unix

package process

import (
	"io/fs"
	"syscall"
)

func supported() error { return errUnsupported }

// The signals have no meaning where no engine can be opened.
const (
	polite = iota
	force
	kill
)

type fileLock struct{}

func tryLock(string) (*fileLock, error)  { return nil, errUnsupported }
func waitLock(string) (*fileLock, error) { return nil, errUnsupported }
func (*fileLock) unlock()                {}

func shimAttributes(bool) *syscall.SysProcAttr { return nil }
func ownedByUs(fs.FileInfo) bool               { return false }

func (e *Engine) signal(string, int) error { return errUnsupported }
func (e *Engine) watch(record, int, bool)  {}
func (e *Engine) collect(int)              {}
func (h host) killLeftovers(*seen) bool    { return false }

func machine() (float64, int64, error) { return 0, 0, errUnsupported }
