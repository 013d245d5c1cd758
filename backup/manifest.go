package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// format is the version of the file's layout. It grows when an older program
// could not read it.
const format = 1

// Bounds on what an archive may hold.
const (
	maxManifest = 64 << 20  // bytes
	maxObjects  = 1000      // in it: one for each file of the installation
	maxState    = 1 << 20   // bytes of each small file
	maxTree     = 256 << 20 // bytes of one listing, as the artifact store bounds it
	maxTrees    = 500_000
	maxBlobs    = 5_000_000
)

// Names of the entries.
const (
	manifestName = "manifest.json"
	databaseName = "sluice.db"
	settingsName = "sluice.yml"
	treesDir     = "trees/"
	blobsDir     = "blobs/"
)

// required are the small files that every installation has.
var required = []string{"seal.key", "ca.pem", "ca-key.pem", "admin.json"}

// Manifest says what an archive holds. It comes first.
type Manifest struct {
	Format int       `json:"format"`
	Sluice string    `json:"sluice"` // the version that wrote it
	Schema int64     `json:"schema"` // of the database
	Taken  time.Time `json:"taken"`
	Change int64     `json:"change"` // the last one in it
	Files  []File    `json:"files"`
	Trees  []string  `json:"trees"` // digests, sorted
	Blobs  int       `json:"blobs"`
	Bytes  int64     `json:"bytes"` // of all of it, this aside
}

// File is one file of the installation.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

func damaged(format string, args ...any) *sluice.Error {
	e := sluice.Errorf(sluice.CodeInvalid, "the backup cannot be used: "+format, args...)
	return e.WithHint("nothing was changed; take another backup")
}

// parseManifest reads and checks a manifest.
func parseManifest(text []byte) (Manifest, error) {
	var m Manifest
	// Short elements cost many times their text in memory.
	if bytes.Count(text, []byte("{")) > maxObjects || bytes.Count(text, []byte(`"`)) > 2*(maxTrees+maxObjects) {
		return m, damaged("its manifest announces more than a backup can hold")
	}
	var versions struct {
		Format int    `json:"format"`
		Sluice string `json:"sluice"`
	}
	if err := json.Unmarshal(text, &versions); err != nil {
		return m, damaged("its manifest does not parse")
	}
	if versions.Format > format {
		return m, sluice.Errorf(sluice.CodeUnavailable, "the backup was written by a newer Sluice (%.40q): its format is number %d and this program knows %d",
			versions.Sluice, versions.Format, format).WithHint("run that newer version")
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Format < 1 {
		return m, damaged("its manifest does not parse")
	}
	return m, m.check()
}

func (m Manifest) check() error {
	if len(m.Trees) > maxTrees || m.Blobs < 0 || m.Blobs > maxBlobs || m.Bytes < 0 {
		return damaged("its manifest announces more than a backup can hold")
	}
	if !slices.IsSorted(m.Trees) || len(slices.Compact(slices.Clone(m.Trees))) != len(m.Trees) {
		return damaged("its manifest names a listing twice")
	}
	for _, d := range m.Trees {
		if err := sluice.CheckDigest(d); err != nil {
			return damaged("its manifest names %.80q as a listing", d)
		}
	}
	wanted := append([]string{settingsName, databaseName}, required...)
	for _, f := range m.Files {
		i := slices.Index(wanted, f.Name)
		if i < 0 {
			return damaged("its manifest names a file %.80q that no backup has, or twice", f.Name)
		}
		wanted = slices.Delete(wanted, i, i+1)
		if f.Size < 0 || f.Name != databaseName && f.Size > maxState || sluice.CheckDigest(f.Digest) != nil {
			return damaged("its manifest is wrong about %s", f.Name)
		}
	}
	wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == settingsName }) // not everybody has any
	if len(wanted) > 0 {
		return damaged("%s is not in it", strings.Join(wanted, ", "))
	}
	return nil
}

// digestOf gives the digest that an entry below a folder is named for.
func digestOf(name, folder string) (string, bool) {
	text, ok := strings.CutPrefix(name, folder)
	digest := "sha256:" + text
	return digest, ok && sluice.CheckDigest(digest) == nil
}

func nameOf(folder, digest string) string { return folder + strings.TrimPrefix(digest, "sha256:") }

func digest(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
