//go:build !unix

package main

import "github.com/rogpeppe/go-internal/testscript"

func provideMLflow(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("models are served on Linux and macOS")
}
