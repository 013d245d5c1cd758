//go:build !linux

package main

// closeOnExec is for systems that can do it in one call.
func closeOnExec() {}
