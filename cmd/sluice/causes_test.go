package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// causeEverywhere checks that what the last command said in its last lines is
// the cause that every other face gives: show, the error of the operation, the
// deployment in the REST interface and its history.
//
//	cause CODE ENDPOINT DEPLOYMENT
func causeEverywhere(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cause CODE ENDPOINT DEPLOYMENT")
	}
	code, endpoint, deployment := sluice.CauseCode(args[0]), args[1], args[2]
	lookup := func(name string) (string, bool) { v := ts.Getenv(name); return v, v != "" }
	p := &program{lookup: lookup, stderr: io.Discard}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := p.connect()
	ts.Check(err)
	defer c.Close()
	wire, err := c.Deployment(ctx, endpoint, deployment)
	ts.Check(err)
	d, _, err := wire.Domain()
	ts.Check(err)
	want := d.Cause
	if want == nil || want.Code != code {
		ts.Fatalf("the deployment has the cause %+v, want %s", want, code)
	}
	checkSaid(ts, want)

	ended := c.Follow(wire.Properties.Properties[arm.PropertyOperation]).Wait(ctx, nil)
	e, ok := ended.(*sluice.Error)
	if !ok {
		ts.Fatalf("the operation ended with %v", ended)
	}
	same(ts, "the operation", want, e.Cause)

	var out bytes.Buffer
	if code := run(ctx, []string{"online-deployment", "show", "-e", endpoint, "-n", deployment, "--query", "cause"}, strings.NewReader(""), &out, io.Discard, lookup); code != 0 {
		ts.Fatalf("show: exit code %d", code)
	}
	shown := &sluice.Cause{}
	ts.Check(json.Unmarshal(out.Bytes(), shown))
	same(ts, "show", want, shown)
	same(ts, "the history", want, lastCause(ctx, ts, p, c, endpoint, deployment))
}

// same compares a cause with what a face gives of it.
func same(ts *testscript.TestScript, face string, want, got *sluice.Cause) {
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		ts.Fatalf("%s has another cause (-want +got):\n%s", face, diff)
	}
}

// checkSaid finds the cause in the last lines of the command. A place in a conda
// file and the name of that file are the command's own to say.
func checkSaid(ts *testscript.TestScript, want *sluice.Cause) {
	said := strings.TrimRight(ts.ReadFile("stderr"), "\n")
	lines := strings.Split(said, "\n")
	last := lines[max(0, len(lines)-2):]
	sentence, hint := last[len(last)-1], ""
	if h, ok := strings.CutPrefix(sentence, "  hint: "); ok && len(last) == 2 {
		sentence, hint = last[0], h
	}
	if want.File == condaName {
		if !strings.HasSuffix(sentence, ": "+clean(want.Message)) {
			ts.Fatalf("the command says\n%s\nwant …: %s", sentence, want.Message)
		}
	} else if sentence != "sluice: "+clean(want.Error()) {
		ts.Fatalf("the command says\n%s\nwant\nsluice: %s", sentence, want.Error())
	}
	// The server does not know what the conda file is called.
	before, after, _ := strings.Cut(strings.ReplaceAll(clean(want.Hint), "the environment's conda file", "the conda file"), "the conda file")
	if !strings.HasPrefix(hint, before) || !strings.HasSuffix(hint, after) {
		ts.Fatalf("the command's next step is\n%s\nwant\n%s", hint, want.Hint)
	}
	if hint == "" {
		ts.Fatalf("the command names no next step:\n%s", said)
	}
}

// lastCause gives the newest cause in the history of a deployment.
func lastCause(ctx context.Context, ts *testscript.TestScript, p *program, c *arm.Client, endpoint, deployment string) *sluice.Cause {
	o, err := p.server()
	ts.Check(err)
	s := c.Scope()
	address := fmt.Sprintf("%s/subscriptions/%s/resourceGroups/%s/providers/%s/workspaces/%s/onlineEndpoints/%s/deployments/%s/history?api-version=%s",
		o.BaseURL, s.Subscription, s.ResourceGroup, arm.Provider, s.Workspace, endpoint, deployment, arm.APIVersion)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+o.Credential)
	resp, err := c.HTTP().Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	var history arm.List[struct {
		Change int64                `json:"change"`
		Diff   []sluice.FieldChange `json:"diff"`
	}]
	ts.Check(json.NewDecoder(resp.Body).Decode(&history))
	newest, cause := int64(0), &sluice.Cause{}
	for _, event := range history.Value {
		told, lines := map[string]json.RawMessage{}, map[int]string{}
		for _, change := range event.Diff {
			name, ok := strings.CutPrefix(change.Path, "cause.")
			switch {
			case !ok || change.New == "":
			case strings.HasPrefix(name, "evidence["):
				n, err := strconv.Atoi(strings.Trim(name, "evidnc[]"))
				ts.Check(err)
				lines[n] = change.New
			default:
				told[name] = json.RawMessage(change.New)
			}
		}
		if len(told) == 0 || event.Change <= newest {
			continue
		}
		newest, cause = event.Change, &sluice.Cause{}
		text, err := json.Marshal(told)
		ts.Check(err)
		ts.Check(json.Unmarshal(text, cause))
		for n := range len(lines) {
			var text string
			ts.Check(json.Unmarshal([]byte(lines[n]), &text))
			cause.Evidence = append(cause.Evidence, text)
		}
	}
	return cause
}

// startIndex serves a folder of wheels as a package index, whose address is
// then in INDEX: index FOLDER, and with a status every request is refused
// with that: index FOLDER 401.
func startIndex(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: index FOLDER [STATUS]")
	}
	dir := ts.MkAbs(args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(args) > 1 {
			status := 0
			fmt.Sscan(args[1], &status)
			w.WriteHeader(status)
			return
		}
		if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
			http.ServeFile(w, r, filepath.Join(dir, filepath.Base(name)))
			return
		}
		project := strings.ReplaceAll(strings.Trim(strings.TrimPrefix(r.URL.Path, "/simple/"), "/"), "-", "_")
		files, _ := filepath.Glob(filepath.Join(dir, project+"-*.whl")) // none is an answer
		if len(files) == 0 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		for _, f := range files {
			fmt.Fprintf(w, "<a href=\"/files/%s\">%[1]s</a>\n", filepath.Base(f))
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("INDEX", server.URL+"/simple")
}

// makeWheel makes a package of one module: wheel FOLDER NAME VERSION TAG
// [REQUIREMENT…]. The module is the file NAME.py, or empty.
func makeWheel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: wheel FOLDER NAME VERSION TAG [REQUIREMENT…]")
	}
	dir, name, version, tag := ts.MkAbs(args[0]), args[1], args[2], args[3]
	code, err := os.ReadFile(ts.MkAbs(name + ".py"))
	if err != nil && !os.IsNotExist(err) {
		ts.Fatalf("%v", err)
	}
	info := name + "-" + version + ".dist-info/"
	meta := "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"
	for _, r := range args[4:] {
		meta += "Requires-Dist: " + r + "\n"
	}
	ts.Check(os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.whl", name, version, tag)))
	ts.Check(err)
	z := zip.NewWriter(f)
	for _, file := range [][2]string{
		{name + ".py", string(code)},
		{info + "METADATA", meta},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: " + tag + "\n"},
		{info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(file[0])
		ts.Check(err)
		_, err = io.WriteString(w, file[1])
		ts.Check(err)
	}
	ts.Check(z.Close())
	ts.Check(f.Close())
}
