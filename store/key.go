package store

import (
	"strings"
	"unicode/utf8"

	"github.com/sluice-ml/sluice"
)

// isText reports whether both databases can keep s as text.
func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// cleaned makes text of what a client says about itself, and bounds it.
func cleaned(s string) string {
	const most = 1024
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// checkKey gives the folded form of a key that something can be kept under.
func checkKey(k sluice.Key) (sluice.Key, error) {
	k = k.Fold()
	switch {
	case sluice.New(k.Kind) == nil:
		return k, sluice.Errorf(sluice.CodeInvalid, "%q is not a kind of resource", k.Kind)
	case k.Workspace == "":
		return k, sluice.Errorf(sluice.CodeInvalid, "%s names no workspace", describe(k))
	case k.Name == "":
		return k, sluice.Errorf(sluice.CodeInvalid, "the %s has no name", kindWords(k.Kind))
	case !isText(k.Workspace) || !isText(k.Name) || !isText(k.Version):
		return k, sluice.Errorf(sluice.CodeInvalid, "the name of %s is not text", describe(k))
	}
	return k, nil
}

// describe names the thing at key as a person would.
func describe(k sluice.Key) string {
	text := kindWords(k.Kind) + " "
	parent, name, nested := strings.Cut(k.Name, "/")
	switch {
	case nested && k.Version != "":
		text += k.Version + " of deployment " + name + " of endpoint " + parent
	case nested:
		text += name + " of endpoint " + parent
	case k.Version != "":
		text += k.Name + ":" + k.Version
	default:
		text += k.Name
	}
	if k.Workspace != "" && !strings.EqualFold(k.Workspace, sluice.DefaultWorkspace) && k.Kind != sluice.KindWorkspace {
		text += " in workspace " + k.Workspace
	}
	return text
}

// kindWords spells a kind for people: "modelContainer" is "model container".
func kindWords(k sluice.Kind) string {
	if asset, ok := strings.CutSuffix(string(k), "Container"); ok {
		return asset + " container"
	}
	if k == sluice.KindDeploymentEvent {
		return "event"
	}
	return string(k)
}

func notFound(k sluice.Key) error {
	e := sluice.Errorf(sluice.CodeNotFound, "%s does not exist", describe(k))
	e.Target = k.String()
	return e
}

func exists(k sluice.Key) error {
	e := sluice.Errorf(sluice.CodeExists, "%s exists already", describe(k))
	e.Target = k.String()
	return e
}

func stale(k sluice.Key, gone bool) error {
	what := "changed"
	if gone {
		what = "deleted"
	}
	e := sluice.Errorf(sluice.CodeStale, "%s was %s by somebody else in the meantime", describe(k), what).
		WithHint("read it again, then repeat the change")
	e.Target = k.String()
	return e
}
