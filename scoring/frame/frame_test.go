package frame

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var samples = []Frame{
	{Type: Hello, Meta: []byte(`{"version":1}`)},
	{Type: Request, Flags: FlagGet, Slot: 31, ID: 7, Meta: []byte("a=1\x00X-A\x00b")},
	{Type: Request, ID: 1 << 63, Body: []byte(`{"data": [1]}`)},
	{Type: Request, Flags: FlagDescriptor, ID: 9, BodyLen: 1 << 40},
	{Type: Request, Flags: FlagGet | FlagJSON | FlagWhole, ID: 8, Meta: []byte("GET\x00/score\x00HTTP/1.1\x00\x00a=1")},
	{Type: Response, Flags: FlagHead | FlagStream, ID: 8, Meta: []byte("200\x00A\x00b")},
	{Type: Chunk, ID: 8, Body: []byte("piece")},
	{Type: Swagger, Flags: FlagDescriptor, Meta: []byte("3.1"), BodyLen: 1 << 20},
	{Type: Response, Outcome: Exited, ID: 9, NS: -1, Body: bytes.Repeat([]byte("x"), MaxInline-1)},
}

func TestRoundTrip(t *testing.T) {
	var wire []byte
	for i := range samples {
		var err error
		if wire, err = Append(wire, &samples[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range samples {
		got, n, err := Decode(wire)
		if err != nil {
			t.Fatalf("decoding %+v: %v", want, err)
		}
		if want.Flags&FlagDescriptor == 0 {
			want.BodyLen = uint64(len(want.Body))
		}
		if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
			t.Fatalf("frame changed on its way (-want +got):\n%s", diff)
		}
		wire = wire[n:]
	}
	if len(wire) != 0 {
		t.Fatalf("%d bytes left over", len(wire))
	}
}

func TestDecodeWaitsForTheRest(t *testing.T) {
	wire, err := Append(nil, &samples[1])
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(wire) {
		if _, _, err := Decode(wire[:n]); !errors.Is(err, ErrShort) {
			t.Fatalf("with %d of %d bytes: %v, want ErrShort", n, len(wire), err)
		}
	}
}

func TestRefused(t *testing.T) {
	header := func(change func([]byte)) []byte {
		wire, err := Append(nil, &Frame{Type: Request, ID: 1})
		if err != nil {
			t.Fatal(err)
		}
		change(wire)
		return wire
	}
	for name, wire := range map[string][]byte{
		"type 0":         header(func(b []byte) { b[0] = 0 }),
		"type 99":        header(func(b []byte) { b[0] = 99 }),
		"flags":          header(func(b []byte) { b[1] = 0x80 }),
		"outcome":        header(func(b []byte) { b[2] = 200 }),
		"meta too large": header(func(b []byte) { b[7] = 0xff }),
		"response meta":  header(func(b []byte) { b[0], b[4] = byte(Response), 1 }),
		"body too large": header(func(b []byte) { b[31] = 0x7f }),
		"body at limit":  header(func(b []byte) { b[26] = 1 }),
	} {
		if _, _, err := Decode(wire); err == nil || errors.Is(err, ErrShort) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if _, err := Append(nil, &Frame{Type: Request, Body: make([]byte, MaxInline)}); err == nil {
		t.Error("a body of MaxInline bytes was put into a frame")
	}
	if _, err := Append(nil, &Frame{Type: Request, Meta: make([]byte, MaxMeta+1)}); err == nil {
		t.Error("a meta over the limit was put into a frame")
	}
}

func FuzzDecode(f *testing.F) {
	for i := range samples {
		wire, err := Append(nil, &samples[i])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire[:min(len(wire), 200)])
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, n, err := Decode(wire)
		if err != nil {
			if n != 0 {
				t.Fatalf("%d bytes taken by a refused frame", n)
			}
			return
		}
		again, err := Append(nil, &got)
		if err != nil {
			t.Fatalf("a decoded frame cannot be written: %v", err)
		}
		if !bytes.Equal(again, wire[:n]) {
			t.Fatalf("written again, the frame differs:\n%x\n%x", again, wire[:n])
		}
	})
}

func normal(f Frame) Frame {
	f.Meta, f.Body = append([]byte{}, f.Meta...), append([]byte{}, f.Body...)
	return f
}
