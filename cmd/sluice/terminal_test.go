package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRawAnswerSteersNoTerminal(t *testing.T) {
	answer := "{\"a\":\x1b[2J \u009b31m\x07 é\u00a0ü \u20ac}\n"
	var whole, pieces bytes.Buffer
	o := &invokeOptions{program: &program{stdout: &whole}}
	if err := o.raw(strings.NewReader(answer)); err != nil {
		t.Fatal(err)
	}
	o.program = &program{stdout: &pieces}
	if err := o.raw(iotest.OneByteReader(strings.NewReader(answer))); err != nil {
		t.Fatal(err)
	}
	want := "{\"a\": [2J \u00a031m  é\u00a0ü \u20ac}\n"
	if whole.String() != want || pieces.String() != want {
		t.Errorf("got %q and, piece by piece, %q, want %q", whole.String(), pieces.String(), want)
	}
}
