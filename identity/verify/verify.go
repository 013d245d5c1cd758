// Package verify checks credentials and does nothing else: no I/O, no state,
// no other package of ours. The gateway calls it on every request.
//
// All functions may be called from any number of goroutines and allocate
// nothing.
package verify

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// MaxKey is the longest token, in bytes, that [Key] looks at; longer ones
// match nothing.
const MaxKey = 1024

// Key reports whether the token's SHA-256 digest is one of digests, which are
// in lower-case hexadecimal. An empty token and an empty or malformed digest
// match nothing. Its time depends on the length of the token and the number of
// digests, not on what they hold nor on which one matched.
func Key(token string, digests ...string) bool {
	if token == "" || len(token) > MaxKey {
		return false
	}
	var plain [MaxKey]byte
	sum := sha256.Sum256(plain[:copy(plain[:], token)])
	var got [2 * sha256.Size]byte
	hex.Encode(got[:], sum[:])

	found := 0
	for _, digest := range digests {
		var want [2 * sha256.Size]byte
		if len(digest) != len(want) {
			continue
		}
		copy(want[:], digest)
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}

// Bearer gives the token of the value of an Authorization header, and whether
// the value is a well-formed bearer credential. The scheme is compared without
// case. A token has no white space, comma or control character in it.
func Bearer(value string) (token string, ok bool) {
	const scheme = "bearer "
	if len(value) <= len(scheme) {
		return "", false
	}
	for i := range len(scheme) {
		c := value[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != scheme[i] {
			return "", false
		}
	}
	token = value[len(scheme):]
	for token != "" && token[0] == ' ' {
		token = token[1:]
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f || c == ',' {
			return "", false
		}
	}
	return token, token != ""
}
