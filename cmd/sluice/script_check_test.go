package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPythonsFor(t *testing.T) {
	for _, tt := range []struct{ programs, want []string }{
		{nil, nil},
		{[]string{"/a/python"}, []string{"/a/python"}},
		{[]string{"/a/python2", "/a/pythonw", "/a/python3.x"}, nil},
		{[]string{"/a/python", "/b/python3", "/c/python3"}, []string{"/b/python3"}},
		{[]string{"/a/python3", "/a/python3.9", "/a/python3.10", "/b/python3.13", "/c/python3.10"},
			[]string{"/a/python3", "/b/python3.13", "/a/python3.10", "/a/python3.9"}},
		{[]string{`python3.12.exe`, `python.exe`}, []string{"python.exe", "python3.12.exe"}},
	} {
		if diff := cmp.Diff(tt.want, pythonsFor(tt.programs)); diff != "" {
			t.Errorf("%q: %s", tt.programs, diff)
		}
	}
}
