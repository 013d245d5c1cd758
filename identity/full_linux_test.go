package identity_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/identity"
	"github.com/sluice-ml/sluice/smalldisk"
)

// Every file of ours is made while the disk is full at each of its steps: it is
// there whole or not at all, and once there is room it is made.
func TestSecretsOnAFullDisk(t *testing.T) {
	roots := []byte(strings.Repeat("# not a certificate\n", 10))
	for name, make := range map[string]func(dir string) error{
		"the authority": func(dir string) error {
			_, err := identity.OpenCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), time.Now, "localhost")
			return err
		},
		"the authority for more names": func(dir string) error {
			for _, domain := range []string{"localhost", "example.com"} {
				if _, err := identity.OpenCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), time.Now, domain); err != nil {
					return err
				}
			}
			return nil
		},
		"the bundle": func(dir string) error {
			ca, err := identity.OpenCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), time.Now, "localhost")
			if err != nil {
				return err
			}
			return ca.WriteBundle(filepath.Join(dir, "ca-bundle.pem"), roots)
		},
		"the credential": func(dir string) error {
			_, err := identity.OpenCredential(filepath.Join(dir, "admin.json"))
			return err
		},
		"the sealing key": func(dir string) error {
			_, err := identity.OpenSealer(filepath.Join(dir, "seal.key"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := smalldisk.New(t, 256<<10)
			d.Each(func(scarce string) error {
				err := make(d.Dir)
				if err == nil {
					tidy(t, scarce, d.Dir)
				}
				return err
			}, func(scarce string, err error) {
				wantFull(t, scarce, err, d.Dir)
				tidy(t, scarce, d.Dir)
			})
			if err := make(d.Dir); err != nil {
				t.Errorf("with room again: %v", err)
			}
		})
	}
}

// What was there before is neither lost nor changed by a write that fails.
func TestAnAuthorityThatGrowsOnAFullDiskStays(t *testing.T) {
	d := smalldisk.New(t, 256<<10)
	cert, key := filepath.Join(d.Dir, "ca.pem"), filepath.Join(d.Dir, "ca-key.pem")
	open := func(domain string) error { _, err := identity.OpenCA(cert, key, time.Now, domain); return err }
	if err := open("localhost"); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	d.Fill(0)
	wantFull(t, "full", open("example.com"), d.Dir)
	if after, err := os.ReadFile(cert); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the certificate has changed: %v", err)
	}
	if err := open("localhost"); err != nil {
		t.Errorf("opening what is there on a full disk: %v", err)
	}
	d.Free()
	if err := open("example.com"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func wantFull(t *testing.T, scarce string, err error, dir string) {
	t.Helper()
	var c *sluice.Cause
	if !errors.As(err, &c) || c.Code != sluice.CauseDiskFull || !strings.Contains(c.Message, dir) || !strings.Contains(c.Hint, "free space") {
		t.Errorf("%s: %v, want a full disk", scarce, err)
	}
}

// tidy checks that no file is empty, or left beside the others.
func tidy(t *testing.T, scarce, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() == 0 && filepath.Ext(e.Name()) != ".lock" || strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s: %s of %d bytes is left", scarce, e.Name(), info.Size())
		}
	}
}
