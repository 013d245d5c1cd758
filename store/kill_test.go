package store_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/store"
	"github.com/sluice-ml/sluice/store/storetest"
)

func TestKilledWriterSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.db")
	killWriters(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check says %q, %v", verdict, err)
	}
}

func TestKilledWriterPostgres(t *testing.T) {
	killWriters(t, storetest.StartPostgres(t).Database(t))
}

// killWriters kills a writing process after ever more acknowledged changes,
// and checks each time that nothing acknowledged is lost and nothing is half done.
func killWriters(t *testing.T, url string) {
	for round := range 8 {
		acknowledged := killAfter(t, url, 1+round*7)
		s := storetest.OpenURL(url)(t, store.Options{})
		n, err := s.Latest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n < acknowledged {
			t.Errorf("round %d: change %d was acknowledged, and the latest is %d", round, acknowledged, n)
		}
		pair, err := readPair(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if pair[0].Description != pair[1].Description || pair[0].Change != n || pair[1].Change != n {
			t.Errorf("round %d: half a change is there: latest %d, %+v and %+v", round, n, pair[0].Meta, pair[1].Meta)
		}
		ops, err := store.ReadAll[*sluice.Operation](t.Context(), s, sluice.Query{Kind: sluice.KindOperation, Limit: 100})
		if err != nil || int64(len(ops)) != n {
			t.Errorf("round %d: %d changes wrote %d operations, %v", round, n, len(ops), err)
		}
		events, err := s.History(t.Context(), pair[0].Key(), 0)
		if err != nil || int64(len(events)) != n {
			t.Errorf("round %d: %d changes wrote %d lines of history, %v", round, n, len(events), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter runs a writer, kills it after so many changes and gives the number
// of the last that it said was done.
func killAfter(t *testing.T, url string, changes int) int64 {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s", childURL, url))
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var last int64
	lines := bufio.NewScanner(out)
	for seen := 1; lines.Scan(); seen++ {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		last = n // also those it managed to print after the signal
		if seen == changes {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // killed: an error by design
	if complaint.Len() > 0 || last == 0 {
		t.Fatalf("the writer ended by itself after change %d: %s", last, complaint.String())
	}
	return last
}
