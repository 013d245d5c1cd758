package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

func paths(t *testing.T) (dir, cert, key string) {
	dir = t.TempDir()
	return dir, filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
}

func openCA(t *testing.T, cert, key string, extra ...string) *CA {
	t.Helper()
	ca, err := OpenCA(cert, key, time.Now, extra...)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCAIsMadeOnceAndKept(t *testing.T) {
	_, cert, key := paths(t)
	first := openCA(t, cert, key)
	again := openCA(t, cert, key)
	if !first.cert.Equal(again.cert) {
		t.Error("a second opening made another certificate")
	}
	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("key file has mode %04o, want 0600", got)
	}
	for _, c := range []struct {
		what string
		ok   bool
	}{
		{"critical constraint", first.cert.PermittedDNSDomainsCritical},
		{"authority", first.cert.IsCA && first.cert.MaxPathLenZero},
		{"ten years", time.Until(first.cert.NotAfter) > 9*365*24*time.Hour},
	} {
		if !c.ok {
			t.Errorf("certificate lacks: %s", c.what)
		}
	}
}

// Several processes start at once: this test starts itself again.
func TestCAOfManyProcessesIsOne(t *testing.T) {
	if dir := os.Getenv("TEST_OPEN_CA_IN"); dir != "" {
		ca, err := OpenCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenCredential(filepath.Join(dir, "admin.json"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nmade %x %s\n", ca.cert.SerialNumber, Digest(c.Token))
		return
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	made := make([]string, 6)
	for i := range made {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCAOfManyProcessesIsOne$")
			cmd.Env = append(os.Environ(), "TEST_OPEN_CA_IN="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "made ") {
					made[i] = line
				}
			}
		})
	}
	wg.Wait()
	for _, m := range made {
		if m == "" || m != made[0] {
			t.Errorf("processes ended up with %q", made)
			break
		}
	}
}

func TestCAOfWrongFiles(t *testing.T) {
	_, cert, key := paths(t)
	openCA(t, cert, key)
	keyText, _ := os.ReadFile(key)
	certText, _ := os.ReadFile(cert)
	tests := []struct {
		name    string
		prepare func() error
		want    string
	}{
		{"key readable by others", func() error { return os.Chmod(key, 0o644) }, "others than its owner"},
		{"key lost", func() error { return os.Remove(key) }, "not its key"},
		{"key damaged", func() error { return os.WriteFile(key, keyText[:40], 0o600) }, "no PEM block"},
		{"certificate damaged", func() error { return os.WriteFile(cert, []byte("x"), 0o600) }, "no PEM block"},
		{"key of another", func() error {
			other, err := newKeyPEM()
			return errors.Join(err, os.WriteFile(key, other, 0o600))
		}, "do not belong together"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.prepare(); err != nil {
				t.Fatal(err)
			}
			_, err := OpenCA(cert, key, time.Now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenCA = %v, want an error with %q", err, tt.want)
			}
			os.Remove(key)
			if err := errors.Join(os.WriteFile(key, keyText, 0o600), os.WriteFile(cert, certText, 0o644)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCAWidensWithTheSameKey(t *testing.T) {
	_, cert, key := paths(t)
	narrow := openCA(t, cert, key)
	if _, err := narrow.Issue("*.ml.example.com"); sluice.ErrorCode(err) != sluice.CodeInvalid {
		t.Errorf("issuing outside the domains: %v", err)
	}
	wide := openCA(t, cert, key, "ml.example.com", "10.1.0.0/16")
	for _, name := range []string{"ml.example.com", "*.ml.example.com", "iris.ml.example.com", "10.1.2.3", "localhost", "x.localhost", "127.1.2.3", "::1"} {
		leaf, err := wide.Issue(name)
		if err != nil {
			t.Errorf("Issue(%s): %v", name, err)
			continue
		}
		ask := strings.Replace(name, "*", "any", 1)
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: wide.Pool(), DNSName: askName(ask)}); err != nil {
			t.Errorf("verifying %s: %v", name, err)
		}
	}
	for _, name := range []string{"example.com", "xml.example.com", "10.2.0.1", "8.8.8.8", "localhost.evil.com", "", "a b"} {
		if _, err := wide.Issue(name); err == nil {
			t.Errorf("Issue(%q) succeeded", name)
		}
	}
	// Who trusted the first certificate can still reach localhost.
	leaf, err := wide.Issue("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: narrow.Pool(), DNSName: "localhost"}); err != nil {
		t.Errorf("the old root no longer verifies: %v", err)
	}
	if again := openCA(t, cert, key); !again.cert.Equal(wide.cert) {
		t.Error("opening with fewer domains narrowed the authority")
	}
}

// askName puts an address into the brackets that Verify wants.
func askName(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return "[" + name + "]"
	}
	return name
}

// What holds when the key is stolen: no client accepts another name.
func TestNameConstraintBinds(t *testing.T) {
	dir, cert, key := paths(t)
	ca := openCA(t, cert, key)
	thief := *ca
	thief.allowed = domains{dns: []string{"com"}, ips: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	good, err := ca.Issue("localhost")
	if err != nil {
		t.Fatal(err)
	}
	byName, err := thief.Issue("bank.com")
	if err != nil {
		t.Fatal(err)
	}
	byAddress, err := thief.Issue("8.8.8.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		leaf tls.Certificate
		ok   bool
	}{{"localhost", good, true}, {"bank.com", byName, false}, {"8.8.8.8", byAddress, false}} {
		_, err := tt.leaf.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()})
		if (err == nil) != tt.ok {
			t.Errorf("Go verifies %s: %v", tt.name, err)
		}
		file := filepath.Join(dir, tt.name+".pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tt.leaf.Certificate[0]})
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool(t, "openssl"), "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", cert, file).CombinedOutput()
		if (err == nil) != tt.ok {
			t.Errorf("OpenSSL verifies %s: %v: %s", tt.name, err, out)
		}
	}
}

// tool finds a program that the test cannot do without.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed: %v", name, err)
	}
	t.Skipf("%s is needed: %v", name, err)
	return ""
}

func TestClientsTrustTheBundle(t *testing.T) {
	dir, cert, key := paths(t)
	ca := openCA(t, cert, key)
	bundle := filepath.Join(dir, "ca-bundle.pem")
	roots, err := SystemRoots(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.WriteBundle(bundle, roots); err != nil {
		t.Fatal(err)
	}
	config, err := ca.ServerTLS("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})}
	served := make(chan error)
	go func() { served <- server.Serve(tls.NewListener(plain, config)) }()
	defer func() { server.Close(); <-served }()
	port := plain.Addr().(*net.TCPAddr).Port

	const script = `
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
for host in ("localhost", "127.0.0.1"):
    c = http.client.HTTPSConnection(host, int(sys.argv[2]), context=context)
    c.request("GET", "/")
    sys.stdout.write(c.getresponse().read().decode())
`
	tests := []struct {
		name string
		argv []string
		want string
	}{
		{"curl", []string{tool(t, "curl"), "-sS", "--noproxy", "*", "--cacert", bundle, fmt.Sprintf("https://localhost:%d/", port)}, "hello"},
		{"python", []string{tool(t, "python3"), "-c", script, bundle, fmt.Sprint(port)}, "hellohello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.Command(tt.argv[0], tt.argv[1:]...).CombinedOutput()
			if err != nil || string(out) != tt.want {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: ca.ClientTLS(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}

func TestBundle(t *testing.T) {
	dir, cert, key := paths(t)
	other := openCA(t, filepath.Join(dir, "o.pem"), filepath.Join(dir, "o-key.pem"))
	old := openCA(t, cert, key)
	ca := openCA(t, cert, key, "ml.example.com")
	bundle := filepath.Join(dir, "bundle.pem")

	// The system's file may already have an older certificate of ours in it.
	roots := append(append([]byte("# comment\n"), other.Certificate()...), old.Certificate()...)
	for range 2 {
		if err := ca.WriteBundle(bundle, roots); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(other.Certificate()) + string(ca.Certificate()); string(text) != want {
		t.Errorf("bundle is\n%s\nwant\n%s", text, want)
	}

	t.Setenv("SSL_CERT_FILE", bundle)
	if got, err := SystemRoots(bundle); err != nil || string(got) == string(text) {
		t.Errorf("SystemRoots took our own bundle for the system's (%v)", err)
	}
	if got, err := SystemRoots(filepath.Join(dir, "none")); err != nil || string(got) != string(text) {
		t.Errorf("SystemRoots did not take SSL_CERT_FILE (%v)", err)
	}
}

func TestRenewal(t *testing.T) {
	_, cert, key := paths(t)
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }

	ca, err := OpenCA(cert, key, clock)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.ServerTLS("localhost")
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		c, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Leaf.NotAfter.After(clock()) {
			t.Fatalf("served a certificate that ended %s", c.Leaf.NotAfter)
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	pass(59 * 24 * time.Hour)
	if serial() != first {
		t.Error("renewed too early")
	}
	pass(2 * 24 * time.Hour)
	second := serial()
	if second == first {
		t.Error("not renewed a month before its end")
	}
	if serial() != second {
		t.Error("renewed twice")
	}
	pass(9*365*24*time.Hour + 30*24*time.Hour)
	young, err := OpenCA(cert, key, clock)
	if err != nil {
		t.Fatal(err)
	}
	if young.cert.Equal(ca.cert) || !young.key.Equal(ca.key) || young.cert.Subject.String() != ca.cert.Subject.String() {
		t.Error("the authority was not renewed with the same key and name")
	}
}
