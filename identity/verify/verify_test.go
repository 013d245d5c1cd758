package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/identity/verify"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestKey(t *testing.T) {
	a, b := digest("alpha"), digest("beta")
	long := strings.Repeat("k", verify.MaxKey)
	tests := []struct {
		name    string
		token   string
		digests []string
		want    bool
	}{
		{"primary", "alpha", []string{a, b}, true},
		{"secondary", "beta", []string{a, b}, true},
		{"wrong", "gamma", []string{a, b}, false},
		{"prefix of a key", "alph", []string{a, b}, false},
		{"no digests", "alpha", nil, false},
		{"empty digest", "alpha", []string{"", ""}, false},
		{"empty token against the digest of nothing", "", []string{digest("")}, false},
		{"the digest itself", a, []string{a}, false},
		{"upper-case digest", "alpha", []string{strings.ToUpper(a)}, false},
		{"short digest", "alpha", []string{a[:63]}, false},
		{"one of them malformed", "beta", []string{"x", b}, true},
		{"longest", long, []string{digest(long)}, true},
		{"too long", long + "k", []string{digest(long + "k")}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := verify.Key(tt.token, tt.digests...); got != tt.want {
				t.Errorf("Key(%.10q, …) = %v, want %v", tt.token, got, tt.want)
			}
		})
	}
}

func TestBearer(t *testing.T) {
	tests := []struct {
		value string
		token string
		ok    bool
	}{
		{"Bearer abc", "abc", true},
		{"bearer abc", "abc", true},
		{"BEARER   abc", "abc", true},
		{"Bearer a-b_c.d~e+f/g=", "a-b_c.d~e+f/g=", true},
		{"Bearer ", "", false},
		{"Bearer", "", false},
		{"Bearer    ", "", false},
		{"", "", false},
		{"Basic abc", "", false},
		{"Bearerabc", "", false},
		{"{Bearer abc}", "", false},
		{"Bearer a b", "", false},
		{"Bearer a, Bearer b", "", false},
		{"Bearer a\x00", "", false},
		{"Bearer ä", "", false},
		{"Bearer\tabc", "", false},
	}
	for _, tt := range tests {
		token, ok := verify.Bearer(tt.value)
		if ok != tt.ok || ok && token != tt.token {
			t.Errorf("Bearer(%q) = %q, %v, want %q, %v", tt.value, token, ok, tt.token, tt.ok)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	token := strings.Repeat("k", 86)
	value := "Bearer " + token
	a, b := digest("other"), digest(token)
	n := testing.AllocsPerRun(100, func() {
		got, ok := verify.Bearer(value)
		if !ok || !verify.Key(got, a, b) {
			t.Fatal("the key does not match")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer abc")
	f.Add("bearer  x,y")
	f.Add("Bearer\x00")
	f.Fuzz(func(t *testing.T, value string) {
		token, ok := verify.Bearer(value)
		if !ok {
			return
		}
		if token == "" || strings.ContainsAny(token, " ,\r\n\t\x00") || !strings.HasSuffix(value, token) {
			t.Errorf("Bearer(%q) = %q", value, token)
		}
	})
}

func BenchmarkKey(b *testing.B) {
	token := strings.Repeat("k", 43)
	x, y := digest("other"), digest(token)
	b.ReportAllocs()
	for b.Loop() {
		verify.Key(token, x, y)
	}
}
