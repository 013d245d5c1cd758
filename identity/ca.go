package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"

	"github.com/sluice-ml/sluice"
)

// How long certificates live. One is replaced well before its end.
const (
	caLife    = 10 * 365 * 24 * time.Hour
	caMargin  = 365 * 24 * time.Hour
	leafLife  = 90 * 24 * time.Hour
	leafEarly = 30 * 24 * time.Hour
	skew      = time.Hour // clocks of clients may be behind ours by this
)

// CA is the local certificate authority. A critical name constraint keeps it
// to its own domains, so that trusting it gives nobody power over any other
// name.
type CA struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	now     func() time.Time
	allowed domains
}

// OpenCA reads the authority, made when there is none. It may sign for
// localhost and what is below it, the loopback addresses, and extra: DNS names
// (with all below them), addresses or prefixes. When extra asks for more than
// the stored certificate covers, or its end is less than a year away, a new
// one takes its place: same key and name, so certificates that clients already
// trust stay good for what they covered.
func OpenCA(certFile, keyFile string, now func() time.Time, extra ...string) (*CA, error) {
	want, err := parseDomains(append([]string{"localhost", "127.0.0.0/8", "::1"}, extra...))
	if err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", err)
	}
	unlock, err := lock(keyFile + ".lock")
	if err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", explain(keyFile, err))
	}
	defer unlock()
	ca := &CA{now: now}
	if err := ca.open(certFile, keyFile, want); err != nil {
		return nil, fmt.Errorf("opening the certificate authority: %w", err)
	}
	ca.allowed = domainsOf(ca.cert)
	return ca, nil
}

func (ca *CA) open(certFile, keyFile string, want domains) error {
	certText, err := readBounded(certFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) && certText != nil {
		return sluice.Errorf(sluice.CodeInvalid, "there is %s but not its key %s", certFile, keyFile).
			WithHint("restore the key, or remove %s to get a new authority", certFile)
	}
	keyText, err := readOrMake(keyFile, newKeyPEM)
	if err != nil {
		return err
	}
	if ca.key, err = parseKey(keyText); err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	if certText != nil {
		if ca.cert, err = parseCert(certText); err != nil {
			return fmt.Errorf("%s: %w", certFile, err)
		}
		if !ca.key.PublicKey.Equal(ca.cert.PublicKey) {
			return sluice.Errorf(sluice.CodeInvalid, "%s and %s do not belong together", certFile, keyFile).
				WithHint("remove both to get a new authority")
		}
		have := domainsOf(ca.cert)
		if have.cover(want) && ca.now().Before(ca.cert.NotAfter.Add(-caMargin)) {
			return nil
		}
		want = have.union(want)
	}
	return ca.sign(certFile, want)
}

// sign makes the authority's own certificate and stores it.
func (ca *CA) sign(certFile string, allow domains) error {
	subject := pkix.Name{Organization: []string{"Sluice"}, CommonName: "Sluice local CA " + newToken()[:6]}
	if ca.cert != nil {
		subject = ca.cert.Subject
	}
	template := &x509.Certificate{
		SerialNumber:                newSerial(),
		Subject:                     subject,
		NotBefore:                   ca.now().Add(-skew),
		NotAfter:                    ca.now().Add(caLife),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         allow.dns,
		PermittedIPRanges:           allow.nets(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return replace(certFile, certPEM(der), 0o644)
}

// Certificate is the authority's own certificate, PEM-encoded.
func (ca *CA) Certificate() []byte { return certPEM(ca.cert.Raw) }

// Pool gives a pool with the authority alone in it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Issue makes a server certificate for the names (DNS names, wildcards such as
// *.example.com, addresses), with a new key, good for 90 days. A name outside
// the authority's domains is an error.
func (ca *CA) Issue(names ...string) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{"Sluice"}},
		NotBefore:             ca.now().Add(-skew),
		NotAfter:              ca.now().Add(leafLife),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if err := ca.allowed.fill(template, names); err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func newSerial() *big.Int {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}

func newKeyPEM() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS #8 private key") // the cause may quote the key
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ec, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err == nil && !cert.IsCA {
		err = errors.New("not the certificate of an authority")
	}
	return cert, err
}

func certPEM(der []byte) []byte {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	return b.Bytes()
}
