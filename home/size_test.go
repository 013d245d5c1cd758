package home_test

import (
	"testing"

	"github.com/sluice-ml/sluice/home"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]home.Size{
		"0": 0, "0B": 0, "1B": 1, "500MB": 500e6, "20GiB": 20 << 30, "20 GiB": 20 << 30, "1.5GiB": 3 << 29, "1TB": 1e12, "2TiB": 2 << 40,
		"64KiB": 64 << 10, "1KB": 1000, "0.5MB": 500e3,
	} {
		got, err := home.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := home.ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q is printed as %q, which reads as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "20", "GiB", "20gib", "20G", "20 GiB ", " 20GiB", "-1GiB", "+1GiB", "1e3MB", "20  GiB", "1.5B", "1,5GiB",
		"99999999999999999999GiB", "9999999999TiB", "0x10MB", "NaNGB", "1.GiB", ".5GiB", "20GiB\n", "20PiB"} {
		if got, err := home.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want it refused", text, got)
		}
	}
	for size, want := range map[home.Size]string{0: "0", 1: "1B", 1 << 30: "1GiB", 20 << 30: "20GiB", 500e6: "500MB", 3 << 29: "1536MiB", 1e12: "1TB", 1001: "1001B"} {
		if got := size.String(); got != want {
			t.Errorf("%d is printed as %q, want %q", int64(size), got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"20GiB", "500MB", "0", "1.5GiB", "20", "9999999999TiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := home.ParseSize(text)
		if err != nil {
			return
		}
		if again, err := home.ParseSize(size.String()); size < 0 || err != nil || again != size {
			t.Errorf("%q is %d, printed as %q, which reads as %d, %v", text, size, size, again, err)
		}
	})
}
