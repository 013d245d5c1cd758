package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/identity/verify"
)

// Credential is what a client of the API proves itself with.
type Credential struct {
	Token string `json:"token"`
}

// String hides the token from logs and error messages.
func (c Credential) String() string { return "credential" }

// GoString hides the token likewise.
func (c Credential) GoString() string { return "identity.Credential{…}" }

// OpenCredential reads the admin credential, made when there is none.
func OpenCredential(path string) (Credential, error) {
	data, err := readOrMake(path, func() ([]byte, error) {
		text, err := json.Marshal(Credential{Token: newToken()})
		return append(text, '\n'), err
	})
	if err != nil {
		return Credential{}, fmt.Errorf("opening the admin credential: %w", err)
	}
	return parseCredential(path, data)
}

// ReadCredential reads the admin credential and makes none: its code is
// not_found when there is no such file.
func ReadCredential(path string) (Credential, error) {
	data, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Credential{}, sluice.Errorf(sluice.CodeNotFound, "there is no admin credential at %s", path).WithHint("sluice up")
	}
	if err != nil {
		return Credential{}, fmt.Errorf("reading the admin credential: %w", err)
	}
	return parseCredential(path, data)
}

func parseCredential(path string, data []byte) (Credential, error) {
	var c Credential
	if err := json.Unmarshal(data, &c); err != nil || len(c.Token) < 16 || len(c.Token) > verify.MaxKey {
		// The text of the JSON error may quote the secret.
		return Credential{}, sluice.Errorf(sluice.CodeInvalid, "%s does not hold an admin credential", path).
			WithHint("remove %s: Sluice makes a new one when it starts", path)
	}
	return c, nil
}

// newToken gives 32 random bytes as text.
func newToken() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// Authenticator knows callers of the API by their bearer credential.
type Authenticator struct {
	digest string
}

// NewAuthenticator takes the one credential it accepts. It keeps a digest only.
func NewAuthenticator(admin Credential) Authenticator {
	return Authenticator{digest: Digest(admin.Token)}
}

// Authenticate says on whose behalf the request is made. Its error's code is
// unauthorized when the request carries no valid credential, or more than one.
func (a Authenticator) Authenticate(r *http.Request) (sluice.Actor, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return sluice.Actor{}, unauthorized("the request has %d Authorization headers, and must have one", len(values))
	}
	token, ok := verify.Bearer(values[0])
	if !ok {
		return sluice.Actor{}, unauthorized("the Authorization header is not of the form: Bearer <token>")
	}
	if !verify.Key(token, a.digest) {
		return sluice.Actor{}, unauthorized("the credential is not valid here")
	}
	return sluice.Actor{Name: "admin", From: r.RemoteAddr, Client: clean(r.UserAgent(), 256)}, nil
}

func unauthorized(format string, args ...any) error {
	return sluice.Errorf(sluice.CodeUnauthorized, format, args...).
		WithHint("send the token in admin.json of the state directory, or set SLUICE_TOKEN")
}

// clean cuts text from a stranger to n bytes and drops what does not print.
func clean(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
}
