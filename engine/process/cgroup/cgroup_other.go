//go:build !linux

package cgroup

import (
	"context"
	"fmt"
)

// Root is the group over the groups of all instances.
type Root struct{}

// Open says that there are none: control groups are Linux's.
func Open(string, int64) (*Root, error) {
	return nil, fmt.Errorf("%w: they are a thing of Linux", ErrUnavailable)
}

// What follows has no meaning where no root can be opened.

func (r *Root) Gaps() []string                     { return nil }
func (r *Root) All() Group                         { return Group{} }
func (r *Root) Leave()                             {}
func (r *Root) Group(string) (Group, error)        { return Group{}, ErrUnavailable }
func (r *Root) Groups() ([]string, error)          { return nil, ErrUnavailable }
func (r *Root) Make(string, Limits) (Group, error) { return Group{}, ErrUnavailable }
func (g Group) Enter() error                       { return nil }
func (g Group) Usage() (Usage, error)              { return Usage{}, nil }
func (g Group) Kill(context.Context) error         { return nil }
func (g Group) Remove() error                      { return nil }
func (g Group) Mounts() []Mount                    { return nil }
func (g Group) Bounds(string) bool                 { return false }
