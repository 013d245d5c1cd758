package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxBundle is the most, in bytes, that is read of a bundle of roots.
const maxBundle = 16 << 20

// rootFiles is where systems keep their roots, as one file.
var rootFiles = [...]string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Alpine
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",             // openSUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem", // macOS, Alpine, the BSDs
}

// SystemRoots gives the roots that this system trusts, PEM-encoded: those of
// $SSL_CERT_FILE, else of the first place that has some. The file own is
// passed over: the variable may point at our own bundle. Without any the
// result is empty.
func SystemRoots(own string) ([]byte, error) {
	places := rootFiles[:]
	if file := os.Getenv("SSL_CERT_FILE"); file != "" && !sameFile(file, own) {
		places = append([]string{file}, places...)
	}
	for _, file := range places {
		text, err := readLimited(file, maxBundle)
		if err == nil && len(text) > 0 {
			return text, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the system's roots: %w", err)
		}
	}
	return nil, nil
}

// WriteBundle writes the given roots and ours to path, for tools that take one
// file of roots (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, …). Earlier certificates
// of this authority among the roots are left out. The file is replaced whole,
// and only when it changes.
func (ca *CA) WriteBundle(path string, systemRoots []byte) error {
	var out bytes.Buffer
	for rest := systemRoots; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" && !ca.isOurs(block.Bytes) {
			out.Write(certPEM(block.Bytes))
		}
	}
	out.Write(ca.Certificate())
	if old, err := readLimited(path, maxBundle); err == nil && bytes.Equal(old, out.Bytes()) {
		return nil
	}
	if err := replace(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the bundle of roots: %w", err)
	}
	return nil
}

// isOurs reports whether the certificate has this authority's key.
func (ca *CA) isOurs(der []byte) bool {
	cert, err := x509.ParseCertificate(der)
	return err == nil && ca.key.PublicKey.Equal(cert.PublicKey)
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return os.SameFile(x, y)
	}
	return filepath.Clean(a) == filepath.Clean(b)
}

func readBounded(path string) ([]byte, error) { return readLimited(path, maxFile) }

// readLimited reads a file, and fails when it is longer than max bytes.
func readLimited(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s is longer than %d bytes", path, max)
	}
	return data, err
}
