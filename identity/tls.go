package identity

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
)

// ServerTLS gives a configuration that serves HTTP/1.1 and HTTP/2 under the
// names. The certificate is issued now and renewed in memory a month before
// its end, by the handshake that finds it due.
func (ca *CA) ServerTLS(names ...string) (*tls.Config, error) {
	k := &keeper{ca: ca, names: names}
	first, err := ca.Issue(names...)
	if err != nil {
		return nil, err
	}
	k.current.Store(&first)
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: k.get,
	}, nil
}

// ClientTLS gives a configuration that trusts this authority alone.
func (ca *CA) ClientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}
}

// keeper holds one certificate and renews it.
type keeper struct {
	ca      *CA
	names   []string
	current atomic.Pointer[tls.Certificate]
	renewal sync.Mutex // held by the one handshake that renews
}

func (k *keeper) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert := k.current.Load()
	if !k.due(cert) || !k.renewal.TryLock() {
		return cert, nil
	}
	defer k.renewal.Unlock()
	if cert = k.current.Load(); !k.due(cert) {
		return cert, nil
	}
	fresh, err := k.ca.Issue(k.names...)
	if err != nil {
		return cert, nil // still good for a while; the next handshake tries again
	}
	k.current.Store(&fresh)
	return &fresh, nil
}

func (k *keeper) due(cert *tls.Certificate) bool {
	return k.ca.now().After(cert.Leaf.NotAfter.Add(-leafEarly)) ||
		k.ca.now().Before(cert.Leaf.NotBefore.Add(-time.Minute)) // the clock was set back
}
