package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
)

const (
	// concealed stands in a diff for a value that nobody may read there.
	concealed = `"(changed)"`
	// longestShown is the longest value, in bytes of JSON, that a diff repeats.
	longestShown = 8 << 10
)

// diff lists the leaves in which two JSON documents differ, sorted by path.
// Either may be nil for absent. A leaf is a string, number or boolean; what is
// null or empty counts as absent. A path is names joined by dots, other keys
// as ["key"], elements as [i].
func diff(before, after []byte) ([]sluice.FieldChange, error) {
	old, err := leaves(before)
	if err != nil {
		return nil, err
	}
	now, err := leaves(after)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(old)
	maps.Copy(all, now)
	var changes []sluice.FieldChange
	for _, path := range slices.Sorted(maps.Keys(all)) {
		a, b := old[path], now[path]
		if a.json == b.json {
			continue
		}
		secret := a.secret || b.secret
		changes = append(changes, sluice.FieldChange{Path: path, Old: shown(a.json, secret), New: shown(b.json, secret)})
	}
	return changes, nil
}

func shown(value string, secret bool) string {
	switch {
	case value == "":
		return ""
	case secret:
		return concealed
	case len(value) > longestShown:
		return strconv.Quote(fmt.Sprintf("(%d bytes)", len(value)))
	}
	return value
}

type leaf struct {
	json   string
	secret bool
}

func leaves(doc []byte) (map[string]leaf, error) {
	out := map[string]leaf{}
	if doc == nil {
		return out, nil
	}
	var value any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber() // int64s beyond 2^53 must not look equal
	if err := dec.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return out, walk(out, "", value, false)
}

func walk(out map[string]leaf, path string, value any, secret bool) error {
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		for key, member := range v {
			if err := walk(out, join(path, key), member, secret || isSecret(key)); err != nil {
				return err
			}
		}
		return nil
	case []any:
		for i, element := range v {
			if err := walk(out, path+"["+strconv.Itoa(i)+"]", element, secret); err != nil {
				return err
			}
		}
		return nil
	case string:
		if v == "" {
			return nil
		}
	}
	text, err := plainJSON(value)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	out[path] = leaf{json: text, secret: secret}
	return nil
}

// isSecret reports whether everything under a key of this name is kept out of
// the history. Environment variables are there because people put passwords
// into them.
func isSecret(key string) bool {
	for _, name := range [...]string{"sealedPrimary", "sealedSecondary", "environmentVariables"} {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func join(path, key string) string {
	if !plainKey.MatchString(key) {
		quoted, _ := plainJSON(key) // a string always has a JSON form
		return path + "[" + quoted + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// plainJSON writes value for people: < stays <.
func plainJSON(value any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
