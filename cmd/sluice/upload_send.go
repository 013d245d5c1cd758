package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
)

// sendTries is how often an upload is taken up again without a byte more than
// the time before.
const sendTries = 5

// sending is one upload, taken up again when the server goes away in the midst
// of it, or the right to upload ends before the upload does.
type sending struct {
	uploader
	kind          sluice.Kind
	name, version string
	base          string
	tree          sluice.Tree
	open          func(path string) (io.ReadCloser, error)
	step          progress.Step

	reached int64 // the most bytes that the server had; -1 before it answered
	told    map[string]bool
}

// send gives the URI of what it has sent.
func (s *sending) send(ctx context.Context) (uri string, err error) {
	s.reached, s.told = -1, map[string]bool{}
	wait, tries := 250*time.Millisecond, 0
	for {
		before := s.reached
		if uri, err = s.once(ctx); err == nil {
			return uri, nil
		}
		if s.reached > before && before >= 0 {
			wait, tries = 250*time.Millisecond, 0
		}
		if tries++; !s.again(err) || tries > sendTries {
			return "", err
		}
		s.show("the server does not answer: trying again")
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// again reports whether an upload that has begun may come through yet: the
// server has gone, or its right has ended with its hour or with the server
// that gave it.
func (s *sending) again(err error) bool {
	code := sluice.ErrorCode(err)
	return s.reached >= 0 && (code == sluice.CodeUnavailable || code == sluice.CodeUnauthorized)
}

func (s *sending) once(ctx context.Context) (string, error) {
	pending, err := s.client.StartPendingUpload(ctx, s.kind, s.name, s.version)
	if err != nil {
		return "", err
	}
	return s.client.Upload(ctx, pending, s.base, s.tree, s.open, func(done, total int64) {
		s.reached = max(s.reached, done)
		s.show(progress.Bytes(done) + " of " + progress.Bytes(total))
	}, arm.WithNotices(s.notice), arm.WithChecking(func(path string, done bool) {
		if !done {
			s.show("the server checks " + path)
		}
	}))
}

func (s *sending) show(detail string) {
	s.step.Detail = detail
	s.shown.Update(s.step)
}

// notice tells what the server wants told, once.
func (s *sending) notice(text string) {
	if !s.told[text] {
		s.told[text] = true
		s.shown.Note("note: %s", text)
	}
}

// stoppedUpload says what an interrupted upload leaves behind: nothing that can
// be seen, and all that need not be sent again.
func stoppedUpload(ctx context.Context, err error) error {
	if stopped(ctx) {
		return fmt.Errorf("%w while uploading: nothing was created; the same command goes on where it was", errInterrupted)
	}
	return err
}
