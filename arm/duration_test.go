package arm

import (
	"testing"
	"time"

	"github.com/sluice-ml/sluice"
)

func TestDurationForms(t *testing.T) {
	for _, tc := range []struct {
		text      string
		want      time.Duration
		canonical string // "" when it is text
	}{
		{"PT5S", 5 * time.Second, ""},
		{"PT0.5S", 500 * time.Millisecond, ""},
		{"PT0S", 0, ""},
		{"PT1M30S", 90 * time.Second, ""},
		{"PT90S", 90 * time.Second, "PT1M30S"},
		{"PT1H", time.Hour, ""},
		{"P1D", 24 * time.Hour, ""},
		{"P1DT1S", 24*time.Hour + time.Second, ""},
		{"P2W", 14 * 24 * time.Hour, "P14D"},
		{"pt5s", 5 * time.Second, "PT5S"},
		{"PT0,25S", 250 * time.Millisecond, "PT0.25S"},
		{"PT1.5M", 90 * time.Second, "PT1M30S"},
		{"PT0.000000001S", 1, ""},
		{"PT0.0000000001S", 0, "PT0S"},
		{"PT00005S", 5 * time.Second, "PT5S"},
		{"P106751DT23H47M16.854775807S", 1<<63 - 1, ""},
	} {
		got, err := ParseDuration(tc.text)
		if err != nil || got != tc.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", tc.text, got, err, tc.want)
		}
		canonical := tc.canonical
		if canonical == "" {
			canonical = tc.text
		}
		if back := FormatDuration(got); back != canonical {
			t.Errorf("FormatDuration(%v) = %q, want %q", got, back, canonical)
		}
	}
}

func TestDurationRefusals(t *testing.T) {
	for _, text := range []string{"", "P", "PT", "5S", "-PT5S", "PT-5S", "P1Y", "P1M", "PT5", "PTS", "PT.5S", "PT5.S", "PT1.2.3S",
		"PT5S ", "PT1S1M", "PT1S1S", "PT1.5M3S", "P1.5DT1S", "P1DT", "PT5SPT5S", "PT9223372037S", "PT9223372036.9S",
		"P106752D", "P99999999999999999999D", "PT1١S", "P106751DT23H47M16.854775808S"} {
		if got, err := ParseDuration(text); sluice.ErrorCode(err) != sluice.CodeInvalid {
			t.Errorf("ParseDuration(%q) = %v, %v; want an invalid error", text, got, err)
		}
	}
}

// What is read is written so that it is read the same.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"PT5S", "P1DT2H3M4.5S", "P2W", "PT0,5S", "P1Y", "PT1M1H", "PT9223372036.854775807S"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("ParseDuration(%q) = %v: negative", text, d)
		}
		again, err := ParseDuration(FormatDuration(d))
		if err != nil || again != d {
			t.Fatalf("%q is %v, written %q, read again %v, %v", text, d, FormatDuration(d), again, err)
		}
	})
}
