package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

func TestWhyNoLog(t *testing.T) {
	o := logOptions{deploymentName: deploymentName{"iris", "blue"}}
	named := o
	named.instance = "b"
	cause := &sluice.Cause{Code: sluice.CauseUnresolvable, Message: "numpyy does not exist", File: "conda.yml", Line: 3}
	two := []arm.Instance{{ID: "a", Phase: "failed"}, {ID: "b", Phase: "starting"}}
	for _, tt := range []struct {
		o         logOptions
		state     sluice.State
		cause     *sluice.Cause
		instances []arm.Instance
		want      string
	}{
		{o, sluice.StateCreating, nil, nil, "deployment blue has no instance yet: its state is Creating"},
		{o, sluice.StateFailed, cause, nil, "deployment blue has no instance, as it failed: conda.yml:3: numpyy does not exist"},
		{o, sluice.StateSucceeded, nil, nil, "deployment blue has no instance: its state is Succeeded"},
		{o, sluice.StateCreating, nil, two, "deployment blue has written nothing: a (failed), b (starting)"},
		{named, sluice.StateCreating, nil, two, "deployment blue has written nothing: b (starting)"},
	} {
		if got := whyNoLog(tt.o, &sluice.Deployment{State: tt.state, Cause: tt.cause}, tt.instances); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestLogPrinter(t *testing.T) {
	record := func(instance string, kind arm.LogKind, text string) arm.LogRecord {
		return arm.LogRecord{Instance: instance, Position: "1", Kind: kind, Text: []byte(text)}
	}
	records := []arm.LogRecord{record("", arm.LogBegins, "1"), record("a", arm.LogJoined, "1"), record("a", arm.LogLine, "one\x1b[2J\r"),
		record("a", arm.LogPiece, "ha"), record("a", arm.LogLine, "lf"), record("a", arm.LogPiece, "rest"), record("a", arm.LogNote, "some is lost"),
		record("a", arm.LogEnded, ""), record("a", arm.LogJoined, "1"), record("a", arm.LogEnded, ""), record("b", arm.LogJoined, "2"), record("b", arm.LogPiece, "z")}
	const said = "following instance a|instance a: some is lost|instance a has ended|following instance b|"
	for _, tt := range []struct {
		name       string
		printer    logPrinter
		text, said string
	}{
		{"one, to a pipe", logPrinter{follow: true}, "one\x1b[2J\r\nhalf\nrest\nz\n", said},
		{"one, at a terminal", logPrinter{follow: true, clean: true}, "one [2J\nhalf\nrest\nz\n", said},
		{"all, to a pipe", logPrinter{follow: true, prefix: true}, "[a] one\x1b[2J\r\n[a] ha\n[a] lf\n[a] rest\n[b] z\n", said},
		{"once", logPrinter{}, "one\x1b[2J\r\nhalf\nrest\nz\n", "instance a: some is lost|"},
	} {
		var text, says bytes.Buffer
		p := tt.printer
		p.to, p.say = &text, func(format string, a ...any) { fmt.Fprintf(&says, format+"|", a...) }
		for _, r := range records {
			if err := p.record(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.text, text.String()); diff != "" {
			t.Errorf("%s: text (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.said, says.String()); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", tt.name, diff)
		}
	}
	// What floods in is written on the way and not gathered.
	flood := logPrinter{to: &bytes.Buffer{}}
	for range 1000 {
		if err := flood.record(record("a", arm.LogPiece, strings.Repeat("x", 64<<10))); err != nil {
			t.Fatal(err)
		}
		if len(flood.buffer) > maxUnflushed || cap(flood.buffer) > 4*maxUnflushed {
			t.Fatalf("%d bytes are gathered", cap(flood.buffer))
		}
	}
}
