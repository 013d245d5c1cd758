package identity

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

func TestCredential(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin.json")
	if _, err := ReadCredential(file); sluice.ErrorCode(err) != sluice.CodeNotFound {
		t.Errorf("reading none: %v", err)
	}
	made, err := OpenCredential(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, read := range []func(string) (Credential, error){OpenCredential, ReadCredential} {
		if got, err := read(file); err != nil || got != made {
			t.Errorf("read back another credential (%v)", err)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %04o, want 0600", got)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, made); strings.Contains(text, made.Token) {
			t.Errorf("%s prints the token", format)
		}
	}
	if err := os.WriteFile(file, []byte(`{"token":"s3cret-s3cret`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCredential(file); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCredential(file); err == nil || !strings.Contains(err.Error(), "others than its owner") {
		t.Errorf("a readable file: %v", err)
	}
}

func TestAuthenticate(t *testing.T) {
	a := NewAuthenticator(Credential{Token: "0123456789abcdef"})
	tests := []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"good", []string{"Bearer 0123456789abcdef"}, true},
		{"other case", []string{"bearer 0123456789abcdef"}, true},
		{"none", nil, false},
		{"wrong", []string{"Bearer 0123456789abcdeF"}, false},
		{"twice", []string{"Bearer 0123456789abcdef", "Bearer 0123456789abcdef"}, false},
		{"basic", []string{"Basic 0123456789abcdef"}, false},
		{"two in one", []string{"Bearer 0123456789abcdef, Bearer x"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"User-Agent": {"cli\x1b[2J"}}, RemoteAddr: "127.0.0.1:9"}
			if tt.headers != nil {
				r.Header["Authorization"] = tt.headers
			}
			actor, err := a.Authenticate(r)
			if !tt.ok {
				if sluice.ErrorCode(err) != sluice.CodeUnauthorized {
					t.Errorf("got %v, %v, want unauthorized", actor, err)
				}
				if strings.Contains(fmt.Sprint(err), "0123456789") {
					t.Errorf("the error shows the token: %v", err)
				}
				return
			}
			if want := (sluice.Actor{Name: "admin", From: "127.0.0.1:9", Client: "cli[2J"}); err != nil || actor != want {
				t.Errorf("got %+v, %v, want %+v", actor, err, want)
			}
		})
	}
	if _, err := NewAuthenticator(Credential{}).Authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer "}}}); err == nil {
		t.Error("an empty credential lets everybody in")
	}
}

func TestSealer(t *testing.T) {
	dir := t.TempDir()
	keys, err := OpenEndpointKeys(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenEndpointKeys(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenEndpointKeys(filepath.Join(dir, "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.New()
	if second, _ := keys.New(); len(key) != 43 || key == second {
		t.Errorf("keys %q and %q", key, second)
	}
	sealed, err := keys.Seal([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if twice, _ := keys.Seal([]byte(key)); bytes.Equal(twice, sealed) || bytes.Contains(sealed, []byte(key)) {
		t.Error("sealing hides nothing")
	}
	if got, err := again.Open(sealed); err != nil || string(got) != key {
		t.Errorf("Open = %q, %v", got, err)
	}
	if _, err := other.Open(sealed); err == nil {
		t.Error("another key opens it")
	}
	if _, err := keys.For("something else").Open(sealed); err == nil {
		t.Error("it opens for another purpose")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := keys.Open(bad); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
		if _, err := keys.Open(sealed[:i]); err == nil {
			t.Errorf("it opens cut to %d bytes", i)
		}
	}
}
