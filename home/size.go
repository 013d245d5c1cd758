package home

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Size is a number of bytes, written with its unit: 20GiB, 500MB, 0.
type Size int64

// units are what a size may be given in, larger ones first.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1},
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,18})(?:\.([0-9]{1,6}))? ?([A-Za-z]*)$`)

// ParseSize reads a size. A unit is needed, so that 20 is not taken for 20 GiB
// nor the other way round; only 0 needs none.
func ParseSize(text string) (Size, error) {
	bad := fmt.Errorf("%.40q is not a size: write for example 20GiB or 500MB, or 0 for none", text)
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, bad
	}
	for _, u := range units {
		if m[3] != u.name && (m[3] != "" || u.name != "B") {
			continue
		}
		value, err := strconv.ParseFloat(m[1]+"."+m[2]+"0", 64)
		bytes := value * float64(u.bytes)
		if err != nil || m[3] == "" && value != 0 || bytes > math.MaxInt64/2 || bytes != math.Trunc(bytes) && u.name == "B" {
			return 0, bad
		}
		return Size(bytes), nil
	}
	return 0, bad
}

// String gives the size in the largest unit that it is a whole number of.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return fmt.Sprint(int64(s)/u.bytes, u.name)
		}
	}
	return fmt.Sprint(int64(s))
}

// MarshalYAML implements yaml.BytesMarshaler.
func (s Size) MarshalYAML() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler, so that what cannot be read is
// told with its line.
func (s *Size) UnmarshalYAML(node ast.Node) error {
	text, scalar := node.(ast.ScalarNode)
	if !scalar {
		return &yaml.SyntaxError{Message: "a size is one value: write for example 20GiB", Token: node.GetToken()}
	}
	size, err := ParseSize(fmt.Sprint(text.GetValue()))
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
	}
	*s = size
	return nil
}
