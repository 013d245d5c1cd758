package sluice

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tree is a folder as content: its files by path, each with the digest of its
// bytes. Two folders with the same files have the same tree.
type Tree struct {
	Files []TreeFile `json:"files"` // sorted by path, no two alike
}

// TreeFile is one file of a tree.
type TreeFile struct {
	Path       string `json:"path"` // relative, forward slashes, clean
	Size       int64  `json:"size"` // bytes
	Digest     string `json:"digest"`
	Executable bool   `json:"executable,omitempty"`
}

// LargeFile is a file that is uploaded in parts. All parts but the last have
// the store's part size, so that a number says which bytes it is and no two
// overlap. Scope keeps those apart that need not trust each other: the parts
// of one are none of another's.
type LargeFile struct {
	Scope  string
	Digest string
	Size   int64 // bytes
}

// MaxTreeFiles and maxTreeDepth bound a tree, so that a stranger's exhausts
// neither memory nor the time it takes to check it.
const (
	MaxTreeFiles = 200_000
	maxTreeDepth = 200 // folders within folders
)

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// CheckDigest checks the form of a digest: "sha256:" and 64 hexadecimal digits.
func CheckDigest(digest string) error {
	if !digestForm.MatchString(digest) {
		return Errorf(CodeInvalid, "%.80q is not a digest: want sha256: and 64 hexadecimal digits", digest)
	}
	return nil
}

// DigestBytes gives the digest of b.
func DigestBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Digest gives the tree's own digest. The files must be sorted by path, as
// Check demands.
func (t Tree) Digest() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("sluice: a tree always marshals: " + err.Error())
	}
	return DigestBytes(b)
}

// Size gives the sum of all files' sizes, in bytes.
func (t Tree) Size() int64 {
	var n int64
	for _, f := range t.Files {
		n += f.Size
	}
	return n
}

// Sort puts the files in the order that Check demands.
func (t Tree) Sort() {
	slices.SortFunc(t.Files, func(a, b TreeFile) int { return strings.Compare(a.Path, b.Path) })
}

// Check refuses a tree that could do harm when it is placed on a disk: paths
// that are absolute, leave the tree, are not clean, stand twice, or use one
// file as another's folder.
func (t Tree) Check() error {
	if len(t.Files) > MaxTreeFiles {
		return Errorf(CodeTooLarge, "the folder has %d files: at most %d are allowed", len(t.Files), MaxTreeFiles)
	}
	files := make(map[string]bool, len(t.Files))
	previous := ""
	for i, f := range t.Files {
		if err := checkTreePath(f.Path); err != nil {
			return err
		}
		if err := CheckDigest(f.Digest); err != nil {
			return err
		}
		if f.Size < 0 {
			return Errorf(CodeInvalid, "file %q has a negative size", f.Path)
		}
		if i > 0 && f.Path <= previous {
			return Errorf(CodeInvalid, "the files are not sorted by path, or %q stands twice", f.Path)
		}
		previous = f.Path
		files[f.Path] = true
	}
	for _, f := range t.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return Errorf(CodeInvalid, "%q is both a file and a folder", dir)
			}
		}
	}
	return nil
}

func checkTreePath(p string) error {
	switch {
	case p == "" || len(p) > 4096 || !utf8.ValidString(p) || strings.ContainsAny(p, "\x00\\"):
		return Errorf(CodeInvalid, "%.80q is not a usable file path", p)
	case strings.Count(p, "/") > maxTreeDepth:
		return Errorf(CodeInvalid, "file path %.80q is nested more than %d folders deep", p, maxTreeDepth)
	case path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return Errorf(CodeInvalid, "file path %.80q leaves its folder or is not clean", p)
	}
	return nil
}
