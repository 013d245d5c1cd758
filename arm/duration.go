package arm

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
)

// Duration is a length of time that travels as ISO 8601, e.g. "PT1M30.5S".
type Duration time.Duration

// MarshalText gives the ISO 8601 form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(FormatDuration(time.Duration(d))), nil }

// UnmarshalText reads the ISO 8601 form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// duration gives a pointer, which is what tells "not said" from zero.
func duration(d time.Duration) *Duration { return (*Duration)(&d) }

// or gives the duration, or the default when it was not said.
func (d *Duration) or(otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return time.Duration(*d)
}

// FormatDuration gives the canonical ISO 8601 form of a duration that is not
// negative: days, hours, minutes and seconds, without zero parts.
func FormatDuration(d time.Duration) string {
	if d <= 0 {
		return "PT0S"
	}
	var b strings.Builder
	b.WriteByte('P')
	part := func(unit time.Duration, letter byte) {
		if n := d / unit; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(letter)
			d %= unit
		}
	}
	part(24*time.Hour, 'D')
	if d == 0 {
		return b.String()
	}
	b.WriteByte('T')
	part(time.Hour, 'H')
	part(time.Minute, 'M')
	if d > 0 {
		b.WriteString(strconv.FormatInt(int64(d/time.Second), 10))
		if rest := d % time.Second; rest > 0 {
			b.WriteByte('.')
			digits := strconv.FormatInt(int64(time.Second+rest), 10)[1:]
			b.WriteString(strings.TrimRight(digits, "0"))
		}
		b.WriteByte('S')
	}
	return b.String()
}

// The parts of a duration in the only order they may come in. Years and months
// have no fixed length and are refused.
var (
	dateUnits = []isoUnit{{'W', 7 * 24 * time.Hour}, {'D', 24 * time.Hour}}
	timeUnits = []isoUnit{{'H', time.Hour}, {'M', time.Minute}, {'S', time.Second}}
)

type isoUnit struct {
	letter byte
	length time.Duration
}

// ParseDuration reads an ISO 8601 duration of weeks, days, hours, minutes and
// seconds. Only the last part may have a fraction; nanoseconds are kept. A
// negative duration, or one of years or months, is an error.
func ParseDuration(s string) (time.Duration, error) {
	bad := func(why string) (time.Duration, error) {
		return 0, sluice.Errorf(sluice.CodeInvalid, "%.40q is not a duration (%s): write ISO 8601, for example PT5S or PT1M30S", s, why)
	}
	rest, ok := strings.CutPrefix(strings.ToUpper(s), "P")
	if !ok || len(rest) > 64 {
		return bad("it does not start with P")
	}
	date, clock, hasTime := strings.Cut(rest, "T")
	if date == "" && clock == "" || hasTime && clock == "" {
		return bad("it is empty")
	}
	days, fraction, err := parseParts(date, dateUnits)
	if err != "" {
		return bad(err)
	}
	if fraction && hasTime {
		return bad("only the last part may have a fraction")
	}
	hours, _, err := parseParts(clock, timeUnits)
	if err != "" {
		return bad(err)
	}
	if days > math.MaxInt64-hours {
		return bad("it is too long")
	}
	return days + hours, nil
}

// parseParts adds up number-letter pairs. fraction reports whether the last
// one had a fraction; problem is "" when all is well.
func parseParts(s string, units []isoUnit) (sum time.Duration, fraction bool, problem string) {
	for s != "" {
		if fraction {
			return 0, false, "only the last part may have a fraction"
		}
		n := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if n < 1 {
			return 0, false, "a number and a unit are expected"
		}
		number, letter := strings.Replace(s[:n], ",", ".", 1), s[n]
		s = s[n+1:]
		for len(units) > 0 && units[0].letter != letter {
			units = units[1:]
		}
		if len(units) == 0 {
			return 0, false, "its units are W, D, and after T H, M, S, in this order"
		}
		var part time.Duration
		part, fraction, problem = scale(number, units[0].length)
		units = units[1:]
		if problem == "" && part > math.MaxInt64-sum {
			problem = "it is too long"
		}
		if problem != "" {
			return 0, false, problem
		}
		sum += part
	}
	return sum, fraction, ""
}

// scale gives number × unit, exactly as far as nanoseconds go.
func scale(number string, unit time.Duration) (d time.Duration, fraction bool, problem string) {
	whole, part, fraction := strings.Cut(number, ".")
	if whole == "" || fraction && part == "" || strings.Contains(part, ".") {
		return 0, false, "a number is malformed"
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return 0, false, "it is too long"
	}
	d = time.Duration(n) * unit
	for place := unit / 10; part != "" && place > 0; place /= 10 {
		add := time.Duration(part[0]-'0') * place
		if d > math.MaxInt64-add {
			return 0, false, "it is too long"
		}
		d += add
		part = part[1:]
	}
	return d, fraction, ""
}
