//go:build unix && !linux && !darwin

package process

import (
	"context"
	"syscall"
)

func supported() error { return errUnsupported }

type handle struct{}

func openHandle(int) (handle, error)       { return handle{}, errUnsupported }
func (handle) close()                      {}
func (handle) signal(syscall.Signal) error { return errUnsupported }
func (handle) wait(context.Context) error  { return errUnsupported }

func machine() (float64, int64, error) { return 0, 0, errUnsupported }
