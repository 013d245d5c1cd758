package artifacttest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/artifact"
)

// large makes a file of three parts, the last of them short.
func large(s Store) ([]byte, sluice.LargeFile) {
	content := make([]byte, 2*s.PartSize()+1234)
	rand.Read(content)
	return content, sluice.LargeFile{Scope: "default", Digest: sluice.DigestBytes(content), Size: int64(len(content))}
}

// part gives one part of the content.
func part(s Store, content []byte, n int) []byte {
	return content[int64(n)*s.PartSize() : min(int64(n+1)*s.PartSize(), int64(len(content)))]
}

func putPart(t *testing.T, s Store, l sluice.LargeFile, n int, text []byte) error {
	t.Helper()
	sum, err := artifact.Checksum(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.PutPart(t.Context(), l, n, int64(len(text)), sum, bytes.NewReader(text))
}

func wantParts(t *testing.T, s Store, l sluice.LargeFile, want ...int) {
	t.Helper()
	got, err := s.Parts(t.Context(), l)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the parts %v are there (%v), want %v", got, err, want)
	}
}

func partsComeTogether(t *testing.T, s Store) {
	content, l := large(s)
	wantParts(t, s, l)
	for i, n := range []int{2, 0} {
		if err := putPart(t, s, l, n, part(s, content, n)); err != nil {
			t.Fatal(err)
		}
		wantParts(t, s, l, []int{0, 2}[1-i:]...)
	}
	wantCode(t, s.Join(t.Context(), l), sluice.CodeInvalid) // one is missing
	if missing, err := s.Missing(t.Context(), []string{l.Digest}); err != nil || len(missing) != 1 {
		t.Errorf("before it is whole, missing is %v, %v", missing, err)
	}
	// What is there is not read again, whatever is sent.
	sum, _ := artifact.Checksum(bytes.NewReader(part(s, content, 0)))
	if err := s.PutPart(t.Context(), l, 0, s.PartSize(), sum, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Errorf("the same part again: %v", err)
	}
	// The parts of one scope are none of another's.
	other := l
	other.Scope = "elsewhere"
	wantParts(t, s, other)
	if err := putPart(t, s, l, 1, part(s, content, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there
		if err := s.Join(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	wantParts(t, s, l)
	r, err := s.OpenBlob(t.Context(), l.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d other bytes, %v", len(got), err)
	}
	if err := s.PutPart(t.Context(), other, 0, s.PartSize(), sum, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Errorf("a part of what is there: %v", err)
	}
	wantParts(t, s, other)
}

func partsThatCannotBe(t *testing.T, s Store) {
	content, l := large(s)
	first := part(s, content, 0)
	sum, _ := artifact.Checksum(bytes.NewReader(first))
	with := func(change func(*sluice.LargeFile)) sluice.LargeFile {
		other := l
		change(&other)
		return other
	}
	for name, c := range map[string]struct {
		l      sluice.LargeFile
		n      int
		length int64
		r      io.Reader
		want   sluice.Code
	}{
		"no digest":       {with(func(l *sluice.LargeFile) { l.Digest = "sha256:../x" }), 0, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"no size":         {with(func(l *sluice.LargeFile) { l.Size = 0 }), 0, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"negative size":   {with(func(l *sluice.LargeFile) { l.Size = -l.Size }), 0, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"endless":         {with(func(l *sluice.LargeFile) { l.Size = 1 << 62 }), 0, s.PartSize(), bytes.NewReader(first), sluice.CodeTooLarge},
		"before the file": {l, -1, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"after the file":  {l, 3, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"other length":    {l, 0, s.PartSize() - 1, bytes.NewReader(first), sluice.CodeInvalid},
		"length of none":  {l, 2, s.PartSize(), bytes.NewReader(first), sluice.CodeInvalid},
		"broken off":      {l, 0, s.PartSize(), bytes.NewReader(first[:99]), sluice.CodeInvalid},
		"cut connection":  {l, 0, s.PartSize(), io.MultiReader(bytes.NewReader(first[:99]), iotest.ErrReader(io.ErrUnexpectedEOF)), sluice.CodeInvalid},
		"too long":        {l, 0, s.PartSize(), io.MultiReader(bytes.NewReader(first), strings.NewReader("x")), sluice.CodeInvalid},
		"other bytes":     {l, 0, s.PartSize(), bytes.NewReader(make([]byte, s.PartSize())), sluice.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, s.PutPart(t.Context(), c.l, c.n, c.length, sum, c.r), c.want)
			wantParts(t, s, l)
		})
	}
	_, err := s.Parts(t.Context(), sluice.LargeFile{Digest: "md5:00", Size: 1})
	wantCode(t, err, sluice.CodeInvalid)
	wantCode(t, s.Join(t.Context(), sluice.LargeFile{Digest: "md5:00", Size: 1}), sluice.CodeInvalid)
}

// partsOfADamagedFile sends parts each of which is whole, of a file that is
// another in the end. They are gone then, so that it can be sent again.
func partsOfADamagedFile(t *testing.T, s Store) {
	content, l := large(s)
	for n := range 3 {
		text := bytes.Clone(part(s, content, n))
		if n == 1 {
			text[7]++
		}
		if err := putPart(t, s, l, n, text); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, s.Join(t.Context(), l), sluice.CodeInvalid)
	wantParts(t, s, l)
	for n := range 3 {
		if err := putPart(t, s, l, n, part(s, content, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Join(t.Context(), l); err != nil {
		t.Error(err)
	}
}

// partsAtOnce has several send one file, each beginning elsewhere.
func partsAtOnce(t *testing.T, s Store) {
	content, l := large(s)
	var wg sync.WaitGroup
	for first := range 6 {
		wg.Go(func() {
			for i := range 3 {
				n := (first + i) % 3
				if err := putPart(t, s, l, n, part(s, content, n)); err != nil {
					t.Error(err)
				}
			}
			if err := s.Join(t.Context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if missing, err := s.Missing(t.Context(), []string{l.Digest}); err != nil || len(missing) != 0 {
		t.Errorf("missing is %v, %v", missing, err)
	}
	wantParts(t, s, l)
}

// freshContentStays collects while an upload is under way: nothing of it goes,
// needed or not.
func freshContentStays(t *testing.T, s Store) {
	tree, digest := putTree(t, s, map[string]string{"a": "1", "run.sh*": "2"})
	alone := put(t, s, "not in a tree yet")
	content, l := large(s)
	if err := putPart(t, s, l, 0, part(s, content, 0)); err != nil {
		t.Fatal(err)
	}
	swept, err := s.Sweep(t.Context(), artifact.Sweep{Keep: func(string) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(artifact.Swept{Later: swept.Later}, swept); diff != "" || swept.Later == 0 {
		t.Errorf("%d bytes are for later, %s", swept.Later, diff)
	}
	if missing, err := s.Missing(t.Context(), []string{tree.Files[0].Digest, tree.Files[1].Digest, alone}); err != nil || len(missing) != 0 {
		t.Errorf("missing is %v, %v", missing, err)
	}
	if has, err := s.HasTree(t.Context(), digest); !has || err != nil {
		t.Errorf("the tree: %v, %v", has, err)
	}
	wantParts(t, s, l, 0)
}
