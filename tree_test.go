package sluice_test

import (
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestTreeCheck(t *testing.T) {
	digest := sluice.DigestBytes(nil)
	tests := map[string]struct {
		paths []string
		ok    bool
	}{
		"nothing":                 {nil, true},
		"files and folders":       {[]string{"a", "b/c", "b/d/e"}, true},
		"absolute":                {[]string{"/a"}, false},
		"out of the folder":       {[]string{"../a"}, false},
		"out and in again":        {[]string{"a/../b"}, false},
		"not clean":               {[]string{"a//b"}, false},
		"a backslash":             {[]string{"a\\b"}, false},
		"a zero byte":             {[]string{"a\x00b"}, false},
		"not UTF-8":               {[]string{"a\xff"}, false},
		"twice":                   {[]string{"a", "a"}, false},
		"not sorted":              {[]string{"b", "a"}, false},
		"a file that is a folder": {[]string{"a", "a/b"}, false},
		"deep":                    {[]string{strings.Repeat("a/", 200) + "b"}, true},
		// Each folder above each file is looked at: the product must stay small.
		"too deep": {[]string{strings.Repeat("a/", 201) + "b"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var tree sluice.Tree
			for _, p := range tt.paths {
				tree.Files = append(tree.Files, sluice.TreeFile{Path: p, Digest: digest})
			}
			if err := tree.Check(); (err == nil) != tt.ok || err != nil && sluice.ErrorCode(err) != sluice.CodeInvalid {
				t.Errorf("Check gives %v, want ok %v", err, tt.ok)
			}
		})
	}
}
