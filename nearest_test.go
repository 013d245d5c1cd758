package sluice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
)

// A hint must not cost more than it is worth: the server looks for one in what
// a client has sent, without these bounds for weeks.
func TestNearestOfWhatStrangersSend(t *testing.T) {
	long := make([]string, 200_000)
	for n := range long {
		long[n] = fmt.Sprint(strings.Repeat("x", 1<<12), n)
	}
	for _, word := range []string{strings.Repeat("x", 1<<20), strings.Repeat("x", 150)} {
		if got := sluice.Nearest(word, long, 2); len(got) > 0 {
			t.Errorf("%.10s... is near to %.20q", word, got)
		}
	}
	word := strings.Repeat("x", 150)
	if got := sluice.Nearest(word, append([]string{word + "y", word}, long...), 1); !slices.Equal(got, []string{word}) {
		t.Errorf("got %.20q", got)
	}
}
