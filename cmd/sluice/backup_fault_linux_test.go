package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice/killpoint"
	"github.com/sluice-ml/sluice/smalldisk"
)

// A backup that is killed, or finds no room, at any step leaves the former one
// under its name, and nothing that the next one does not remove.
func TestBackupIsWholeOrNotThere(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	in.sluice("down")
	dir := t.TempDir()
	file := filepath.Join(dir, "b.tar")
	former := []byte("the former backup")
	rig := killpoint.New(t, dir)
	backup := func() (said string, err error) {
		t.Helper()
		if err := os.WriteFile(file, former, 0o600); err != nil {
			t.Fatal(err)
		}
		in.launch = rig.Start
		defer func() { in.launch = (*exec.Cmd).Start }()
		_, said, err = in.try("backup", "-o", file)
		return said, err
	}
	whole := func() bool {
		_, _, err := in.try("restore", file, "--home", filepath.Join(t.TempDir(), "r"))
		return err == nil
	}
	if said, err := backup(); err != nil || !whole() {
		t.Fatal(err, said)
	}
	if hasty := killpoint.Unsynced(rig.Points()); len(hasty) > 0 {
		t.Errorf("not synced: %v", hasty)
	}
	points := killpoint.Sample(rig.Points(), 1, 0)
	if len(points) < 12 {
		t.Errorf("only %d steps were seen: %v", len(points), points)
	}
	for i, p := range points {
		faults := killpoint.Faults(p)
		fault := faults[i%len(faults)]
		rig.At(p, fault)
		said, err := backup()
		if err != nil && !fault.Kills() && !strings.Contains(said, "the disk ") && !strings.Contains(said, "dmesg") {
			t.Errorf("%s, %s: not a clear error: %s", p, fault, said)
		}
		now, errRead := os.ReadFile(file)
		if errRead != nil || !bytes.Equal(now, former) && !whole() {
			t.Errorf("%s, %s: there are %d bytes, %v", p, fault, len(now), errRead)
		}
		if err == nil && bytes.Equal(now, former) {
			t.Errorf("%s, %s: it succeeds, and the former one is there", p, fault)
		}
	}
	if said, err := backup(); err != nil || !whole() {
		t.Error(err, said)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("there is %v, %v", left, err)
	}
}

func TestBackupToAFullDisk(t *testing.T) {
	in := newInstallation(t)
	in.sluice("up", "--detach")
	d := smalldisk.New(t, 4<<20)
	file := filepath.Join(d.Dir, "b.tar")
	for _, left := range []int64{0, 5, 15, 25} {
		d.Fill(left)
		_, said, err := in.try("backup", "-o", file)
		if err == nil || !strings.Contains(said, "the disk is full: writing ") || !strings.Contains(said, d.Dir) {
			t.Errorf("with room for %d pages: %v, %s", left, err, said)
		}
		_, said, err = in.try("backup", "-o", file, "--only-show-errors")
		if err == nil || strings.Contains(said, "internal") {
			t.Errorf("with room for %d pages: %v, %s", left, err, said)
		}
		if all, err := os.ReadDir(d.Dir); err != nil || len(all) > 0 {
			t.Errorf("with room for %d pages: %v is left, %v", left, all, err)
		}
		d.Free()
	}
	in.sluice("backup", "-o", file)

	// Standard output that cannot be written is said too.
	cmd := exec.Command(filepath.Join(in.programs, "sluice"), "backup", "-o", "-")
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+in.home)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &said
	if err := cmd.Run(); err == nil || !strings.Contains(said.String(), "the disk is full: writing the backup to standard output") {
		t.Errorf("to a full device: %v, %s", err, said.String())
	}
}
