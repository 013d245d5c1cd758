package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-ml/sluice"
)

// Digest gives the SHA-256 of a key in lower-case hexadecimal, the form that
// is stored and sent to gateways.
func Digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// NewKey gives a new random key: 256 bits as 43 characters.
func NewKey() string { return newToken() }

// Sealer encrypts what is stored, so that the store alone gives nothing away.
type Sealer struct {
	aead    cipher.AEAD
	purpose string
}

// sealVersion is the first byte of everything sealed. It says AES-256-GCM with
// a random 96-bit nonce that follows it.
const sealVersion = 1

// errSeal is all that is said of a failed Open: which part failed helps nobody
// but an attacker.
var errSeal = errors.New("sealed with another key, for another purpose, or damaged")

// OpenSealer reads the key file, made when there is none.
func OpenSealer(path string) (*Sealer, error) {
	data, err := readOrMake(path, func() ([]byte, error) {
		var raw [32]byte
		rand.Read(raw[:]) // never fails
		return []byte(base64.StdEncoding.EncodeToString(raw[:]) + "\n"), nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the sealing key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(raw) != 32 {
		return nil, sluice.Errorf(sluice.CodeInvalid, "%s does not hold a sealing key", path).
			WithHint("restore %s from a backup: what was sealed with it cannot be read without it", path)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("opening the sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("opening the sealing key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

// For gives a sealer with the same key whose sealed values open only for the
// same purpose.
func (s *Sealer) For(purpose string) *Sealer {
	return &Sealer{aead: s.aead, purpose: purpose}
}

// Seal encrypts plain.
func (s *Sealer) Seal(plain []byte) ([]byte, error) {
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	out[0] = sealVersion
	nonce := out[1:]
	rand.Read(nonce) // never fails
	return s.aead.Seal(out, nonce, plain, s.context()), nil
}

// Open decrypts what Seal gave.
func (s *Sealer) Open(sealed []byte) ([]byte, error) {
	n := 1 + s.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("unsealing: %w", errSeal)
	}
	if sealed[0] != sealVersion {
		return nil, fmt.Errorf("unsealing: version %d is not known here", sealed[0])
	}
	plain, err := s.aead.Open(nil, sealed[1:n], sealed[n:], s.context())
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w", errSeal)
	}
	return plain, nil
}

// context is the associated data: the version byte is bound by it too.
func (s *Sealer) context() []byte {
	return fmt.Appendf(nil, "sluice seal %d %s", sealVersion, s.purpose)
}

// EndpointKeys makes, digests and seals the keys of endpoints.
type EndpointKeys struct {
	*Sealer
}

// OpenEndpointKeys opens the sealer at path for endpoint keys.
func OpenEndpointKeys(path string) (EndpointKeys, error) {
	s, err := OpenSealer(path)
	if err != nil {
		return EndpointKeys{}, err
	}
	return EndpointKeys{s.For("endpoint keys")}, nil
}

// New gives a new random key.
func (EndpointKeys) New() (string, error) { return NewKey(), nil }

// Digest is [Digest].
func (EndpointKeys) Digest(key string) string { return Digest(key) }
