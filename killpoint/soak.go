package killpoint

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Soaking is a test that draws what it does, for a long time.
type Soaking struct {
	t     testing.TB
	until time.Time
	draw  *rand.Rand
	round int
}

// Soak begins a test that `make soak` runs and nobody else. $SOAK_TIME says for
// how long, and $SOAK_SEED repeats one: it is printed at the start, and again
// with the round when the test has failed.
func Soak(t testing.TB) *Soaking {
	t.Helper()
	text := os.Getenv("SOAK_TIME")
	if text == "" {
		t.Skip("make soak runs it")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK_TIME: %v", err)
	}
	seed := rand.Uint64() >> 1
	if text := os.Getenv("SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SOAK_SEED: %v", err)
		}
	}
	t.Logf("SOAK_SEED=%d SOAK_TIME=%s", seed, length)
	s := &Soaking{t: t, until: time.Now().Add(length), draw: rand.New(rand.NewPCG(seed, 0))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("failed in round %d: SOAK_SEED=%d draws the same again", s.round, seed)
		}
	})
	return s
}

// More reports whether there is time for another round, and the test has not
// failed.
func (s *Soaking) More() bool {
	if s.t.Failed() || !time.Now().Before(s.until) {
		s.t.Logf("%d rounds", s.round)
		return false
	}
	s.round++
	return true
}

// Draw gives a number from 0 to below n.
func (s *Soaking) Draw(n int) int { return s.draw.IntN(n) }
