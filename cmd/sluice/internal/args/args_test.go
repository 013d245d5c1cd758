package args

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testFlags = []Flag{
	{Name: "file", Short: "f", Value: true},
	{Name: "name", Short: "n", Value: true},
	{Name: "endpoint-name", Short: "e", Value: true},
	{Name: "set", Many: true},
	{Name: "add", Many: true},
	{Name: "traffic", Short: "r", Many: true},
	{Name: "no-wait"},
	{Name: "local"},
	{Name: "local-enable-gpu"},
	{Name: "yes", Short: "y"},
	{Name: "web", Short: "v"},
	{Name: "with-package", Hidden: true},
}

func TestRewrite(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string // "+" for the separator
	}{
		{"plain", "--name blue --file x.yml", "--name=blue --file=x.yml"},
		{"prefixes", "--endpoint iris --f x.yml --no", "--endpoint-name=iris --file=x.yml --no-wait"},
		{"exact beats longer", "--local", "--local"},
		{"prefix with equals sign", "--end=iris", "--endpoint-name=iris"},
		{"short", "-n blue -e iris -y", "--name=blue --endpoint-name=iris --yes"},
		{"short joined", "-nblue -e=iris", "--name=blue --endpoint-name=iris"},
		{"short cluster", "-yvn blue", "--yes --web --name=blue"},
		{"several pairs", "--set a=1 b=2 --name x", "--set=a=1+b=2 --name=x"},
		{"repeated", "--set a=1 --set b=2", "--set=a=1 --set=b=2"},
		{"equals then more", "--set=a=1 b=2", "--set=a=1+b=2"},
		{"negative number is a value", "--set a -5", "--set=a+-5"},
		{"dash is a value", "--file -", "--file=-"},
		{"several to a short flag", "-r blue=90 green=10 -y", "--traffic=blue=90+green=10 --yes"},
		{"rest is left alone", "--yes -- --name x", "--yes -- --name x"},
		{"positional", "bash --yes", "bash --yes"},
		{"value with a dash that is no flag", "--name -weird", "--name=-weird"},
		{"switch with a value", "--yes=false", "--yes=false"},
		{"hidden by its whole name", "--with-package", "--with-package"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Rewrite(strings.Fields(tt.in), testFlags)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.ReplaceAll(strings.Join(got, " "), Separator, "+")
			if diff := cmp.Diff(tt.want, line); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRewriteRefuses(t *testing.T) {
	tests := []struct{ in, message, hint string }{
		{"--n x", "--n could be any of --name, --no-wait", "write one of them out"},
		{"--nam", "--name needs a value", ""},
		{"--name --yes", "--name needs a value", ""},
		{"--file -y", "--file needs a value", ""},
		{"--flie x", "there is no flag --flie", "did you mean --file?"},
		{"--zzzzzzzzzz", "there is no flag --zzzzzzzzzz", "--help lists the flags"},
		{"--with-pack", "there is no flag --with-pack", "--help lists the flags"},
		{"-q", "there is no flag -q", "--help lists the flags"},
		{"--=x", "there is no flag --", "--help lists the flags"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			_, err := Rewrite(strings.Fields(tt.in), testFlags)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if diff := cmp.Diff(&Error{Message: tt.message, Hint: tt.hint}, e); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	var g Groups
	for _, value := range []string{"tags" + Separator + "a=1", "b"} {
		if err := g.Set(value); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(Groups{{"tags", "a=1"}, {"b"}}, g); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"tags", "a=1", "b"}, g.All()); diff != "" {
		t.Error(diff)
	}
}

func TestShares(t *testing.T) {
	tests := []struct {
		in   []string
		want map[string]int
		err  string
	}{
		{in: []string{"blue=90 green=10"}, want: map[string]int{"blue": 90, "green": 10}},
		{in: []string{"blue=90", "green=10"}, want: map[string]int{"blue": 90, "green": 10}},
		{in: []string{"Blue=100%"}, want: map[string]int{"blue": 100}},
		{in: []string{"blue=50,green=50"}, want: map[string]int{"blue": 50, "green": 50}},
		{in: []string{""}, want: map[string]int{}},
		{in: []string{"blue"}, err: `"blue" is not a share of traffic`},
		{in: []string{"blue=-1"}, err: `"blue=-1" is not a share of traffic`},
		{in: []string{"blue=1.5"}, err: `"blue=1.5" is not a share of traffic`},
		{in: []string{"blue=101"}, err: "traffic of deployment blue is 101: a share is 0 to 100 percent"},
		{in: []string{"blue=1 BLUE=2"}, err: "deployment blue stands twice in the traffic"},
	}
	for _, tt := range tests {
		got, err := Shares(tt.in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(tt.err, text); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
}

// What came out of the pass goes through it unchanged, and every flag in it is
// one that exists, spelled out.
func FuzzRewrite(f *testing.F) {
	for _, seed := range []string{"--name blue", "--set a=1 b=2 -y", "-yvn x", "--n", "-- x", "--=", "-", "--set=", "-r=a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		out, err := Rewrite(strings.Split(line, " "), testFlags)
		if err != nil {
			return
		}
		again, err := Rewrite(out, testFlags)
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", line, out, err)
		}
		// A switch between values would end them; nothing else may differ.
		if !slices.Equal(out, again) && !slices.ContainsFunc(out, func(s string) bool { return !strings.HasPrefix(s, "--") }) {
			t.Fatalf("%q became %q, then %q", line, out, again)
		}
		for _, token := range out {
			if token == "--" {
				break
			}
			if name, ok := strings.CutPrefix(token, "--"); ok {
				name, _, _ = strings.Cut(name, "=")
				if !slices.ContainsFunc(testFlags, func(f Flag) bool { return f.Name == name }) {
					t.Fatalf("%q became %q, with an unknown flag", line, out)
				}
			}
		}
	})
}
