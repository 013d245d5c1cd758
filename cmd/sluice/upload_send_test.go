package main

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-ml/sluice"
)

// An upload is taken up again only when it had begun, and only after what may
// pass.
func TestUploadAgain(t *testing.T) {
	for _, c := range []struct {
		reached int64
		err     error
		want    bool
	}{
		{-1, sluice.Errorf(sluice.CodeUnavailable, "no server"), false},
		{-1, sluice.Errorf(sluice.CodeUnauthorized, "a wrong credential"), false},
		{0, sluice.Errorf(sluice.CodeUnavailable, "the server went away"), true},
		{7, sluice.Errorf(sluice.CodeUnauthorized, "the URL has expired"), true},
		{7, sluice.Errorf(sluice.CodeInvalid, "the file changed"), false},
		{7, &sluice.Cause{Code: sluice.CauseDiskFull}, false},
		{7, context.Canceled, false},
		{7, errors.New("anything else"), false},
	} {
		if got := (&sending{reached: c.reached}).again(c.err); got != c.want {
			t.Errorf("with %d bytes there, after %v: %v, want %v", c.reached, c.err, got, c.want)
		}
	}
}
