package artifact_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// TestMain makes this program a server that can be killed: see
// TestKilledBetweenParts and, for each of its steps, TestFaultAtEachStep.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SLUICE_TEST_PARTS"); dir != "" {
		sendUntilKilled(dir)
	}
	if dir := os.Getenv(childSteps); dir != "" {
		os.Exit(stepsByThemselves(dir))
	}
	os.Exit(m.Run())
}

// largeFile is a file of three parts.
func largeFile() ([]byte, sluice.LargeFile) {
	var content []byte
	for sum := sha256.Sum256(nil); len(content) < 2*partSize+100; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	return content, sluice.LargeFile{Scope: "default", Digest: sluice.DigestBytes(content), Size: int64(len(content))}
}

func putPart(t *testing.T, s *artifact.Store, n int, r io.Reader) error {
	t.Helper()
	content, l := largeFile()
	text := content[n*partSize : min((n+1)*partSize, len(content))]
	sum, err := artifact.Checksum(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		r = bytes.NewReader(text)
	}
	return s.PutPart(t.Context(), l, n, int64(len(text)), sum, r)
}

// sendUntilKilled keeps one part, says so, and never ends the next.
func sendUntilKilled(dir string) {
	s, err := artifact.OpenWith(dir, artifact.Options{PartSize: partSize})
	if err != nil {
		panic(err)
	}
	content, l := largeFile()
	for n := range 2 {
		text := content[n*partSize : (n+1)*partSize]
		sum, _ := artifact.Checksum(bytes.NewReader(text))
		r := io.Reader(bytes.NewReader(text))
		if n == 1 {
			r = io.MultiReader(bytes.NewReader(text[:partSize/2]), stuck{})
		}
		if err := s.PutPart(context.Background(), l, n, partSize, sum, r); err != nil {
			panic(err)
		}
	}
}

// stuck says that it is asked, and never answers.
type stuck struct{}

func (stuck) Read([]byte) (int, error) {
	os.Stdout.WriteString("half a part\n")
	select {}
}

// TestKilledBetweenParts kills -9 a process that has kept one part and half of
// another: the one counts, the half does not.
func TestKilledBetweenParts(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SLUICE_TEST_PARTS="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "half a part\n" {
		t.Errorf("it said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait()

	s, err := artifact.OpenWith(dir, artifact.Options{PartSize: partSize})
	if err != nil {
		t.Fatal(err)
	}
	content, l := largeFile()
	if have, err := s.Parts(t.Context(), l); err != nil || !slices.Equal(have, []int{0}) {
		t.Fatalf("the parts %v are there (%v), want the first", have, err)
	}
	for n := range 3 {
		if err := putPart(t, s, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Join(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	blob, err := s.OpenBlob(t.Context(), l.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got other bytes, %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "parts")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPartsListCutOff reads a list whose last line a crash cut off: it counts
// for nothing, and the next line is not taken for its rest.
func TestPartsListCutOff(t *testing.T) {
	s, dir := open(t)
	_, l := largeFile()
	if err := putPart(t, s, 2, nil); err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(dir, "parts", "*", "have"))
	if err != nil || len(lists) != 1 {
		t.Fatalf("lists: %v, %v", lists, err)
	}
	for _, cut := range []string{"1", "\n1", "nonsense", "-1.\n", "99.\n", "1 .\n"} {
		if err := os.WriteFile(lists[0], []byte("\n2.\n"+cut), 0o600); err != nil {
			t.Fatal(err)
		}
		if have, err := s.Parts(t.Context(), l); err != nil || !slices.Equal(have, []int{2}) {
			t.Errorf("%q: the parts %v are there, %v", cut, have, err)
		}
		if err := putPart(t, s, 0, nil); err != nil {
			t.Fatal(err)
		}
		if have, err := s.Parts(t.Context(), l); err != nil || !slices.Equal(have, []int{0, 2}) {
			t.Errorf("%q, then another: the parts %v are there, %v", cut, have, err)
		}
	}
}

// TestAPartIsWaitedFor sends a part that another is just sending. When that one
// breaks off, the second takes over.
func TestAPartIsWaitedFor(t *testing.T) {
	s, _ := open(t)
	_, l := largeFile()
	started, gone := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		first <- putPart(t, s, 0, &waitingReader{started: started, until: gone})
	}()
	<-started
	second := make(chan error)
	go func() { second <- putPart(t, s, 0, nil) }()
	close(gone)
	if err := <-first; err == nil {
		t.Error("a part that broke off was taken")
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if have, err := s.Parts(t.Context(), l); err != nil || !slices.Equal(have, []int{0}) {
		t.Errorf("the parts %v are there, %v", have, err)
	}
}

type waitingReader struct{ started, until chan struct{} }

func (w *waitingReader) Read([]byte) (int, error) {
	close(w.started)
	<-w.until
	return 0, io.ErrUnexpectedEOF
}

// TestAdmission refuses what there is no room for, before a byte is read.
func TestAdmission(t *testing.T) {
	full := sluice.Errorf(sluice.CodeInvalid, "no room")
	var asked []string
	s, err := artifact.OpenWith(t.TempDir(), artifact.Options{PartSize: partSize,
		Admit: func(_ context.Context, what string, bytes int64) (func(), error) {
			asked = append(asked, what)
			return nil, full
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := putPart(t, s, 1, errReader{}); err != full {
		t.Errorf("a part: %v", err)
	}
	if err := s.PutBlob(t.Context(), sluice.DigestBytes([]byte("x")), 1, errReader{}); err != full {
		t.Errorf("a blob: %v", err)
	}
	if _, err := s.PutTree(t.Context(), sluice.Tree{}); err != full {
		t.Errorf("a tree: %v", err)
	}
	if len(asked) != 3 || !strings.HasPrefix(asked[0], "part 2 of an uploaded file") {
		t.Errorf("asked about %q", asked)
	}
}
