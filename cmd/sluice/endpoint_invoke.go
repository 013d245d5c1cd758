package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// Bounds, in bytes: what invoke reads of a request file, and what it keeps of
// an answer that it cannot pass on piece by piece.
const (
	maxRequest = 1 << 30
	maxAnswer  = 256 << 20
	maxError   = 64 << 10
)

type invokeOptions struct {
	*program
	endpoint, deployment, file string
}

func (p *program) endpointInvoke() *cobra.Command {
	o := &invokeOptions{program: p}
	cmd := &cobra.Command{
		Use: "invoke", Short: "Send a request to an endpoint", Args: noArgs,
		Long: "Sends the JSON in a file to an endpoint, with its key, and prints the answer:\n" +
			"as it is at a terminal and with -o tsv, else as a JSON string. When the model\n" +
			"did not answer, the last lines say why: exception, file and line.",
		Example: "  sluice online-endpoint invoke -n iris -r request.json\n" +
			"  sluice online-endpoint invoke -n iris -d green -r request.json\n" +
			"  echo '{\"data\": [[5.1, 3.5, 1.4, 0.2]]}' | sluice online-endpoint invoke -n iris -r - -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	p.endpointFlag(cmd, &o.endpoint)
	cmd.Flags().StringVarP(&o.file, "request-file", "r", "", "file with the request, - for standard input")
	cmd.Flags().StringVarP(&o.deployment, "deployment-name", "d", "", "send it to this deployment, whatever the traffic split")
	cmd.RegisterFlagCompletionFunc("deployment-name", p.completeDeployments("name"))
	unbuilt{[]string{"local"}}.register(cmd)
	return cmd
}

func (o *invokeOptions) run(ctx context.Context) error {
	if o.endpoint == "" || o.file == "" {
		return usage("invoke needs an endpoint (-n) and a request file (-r)")
	}
	body, err := o.read()
	if err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	request, err := o.request(ctx, c, body)
	if err != nil {
		return err
	}
	resp, err := c.HTTP().Do(request)
	if err != nil {
		if stopped(ctx) {
			return ctx.Err()
		}
		return sluice.Errorf(sluice.CodeUnavailable, "endpoint %s at %s does not answer: %w", o.endpoint, request.URL.Host, err).
			WithHint("`sluice status` shows whether the gateway runs")
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return o.refused(ctx, c, resp)
	}
	return o.answer(resp.Body)
}

// read takes the request in one go, so that it may come from a pipe, and
// checks that it is JSON.
func (o *invokeOptions) read() ([]byte, error) {
	in, name := o.stdin, "standard input"
	if o.file != "-" {
		f, err := os.Open(o.file)
		if err != nil {
			var at *fs.PathError
			if errors.As(err, &at) {
				err = at.Err
			}
			return nil, sluice.Errorf(sluice.CodeInvalid, "request file %s cannot be read: %w", o.file, err)
		}
		defer f.Close()
		in, name = f, o.file
	}
	body, err := io.ReadAll(io.LimitReader(in, maxRequest+1))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if len(body) > maxRequest {
		return nil, sluice.Errorf(sluice.CodeTooLarge, "%s has more than %d bytes", name, maxRequest)
	}
	var any json.RawMessage
	if err := json.Unmarshal(body, &any); err != nil {
		cause := &sluice.Cause{Code: sluice.CauseBadValue, Message: "the request is not JSON: " + err.Error(), File: name,
			Hint: "invoke sends JSON; send anything else with curl to the scoring_uri that `sluice online-endpoint show` prints"}
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			cause.Line, cause.Column = position(body, at.Offset)
		}
		return nil, cause
	}
	return body, nil
}

// position gives line and column of the byte before the offset, from 1.
func position(text []byte, offset int64) (line, column int) {
	before := text[:min(max(offset-1, 0), int64(len(text)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
}

func (o *invokeOptions) request(ctx context.Context, c *arm.Client, body []byte) (*http.Request, error) {
	e, err := c.Endpoint(ctx, o.endpoint)
	if err != nil {
		return nil, err
	}
	if o.deployment != "" {
		if err := o.checkDeployment(ctx, c); err != nil {
			return nil, err
		}
	}
	keys, err := c.Keys(ctx, o.endpoint)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Properties.ScoringURI, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("endpoint %s has no usable scoring URI: %w", o.endpoint, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+keys.PrimaryKey)
	r.Header.Set("User-Agent", "sluice/"+version)
	if o.deployment != "" {
		r.Header.Set("azureml-model-deployment", o.deployment)
	}
	return r, nil
}

func (o *invokeOptions) checkDeployment(ctx context.Context, c *arm.Client) error {
	deployments, err := c.Deployments(ctx, o.endpoint)
	if err != nil {
		return err
	}
	names := make([]string, len(deployments))
	for i, d := range deployments {
		names[i] = d.Name
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, o.deployment) }) {
		return nil
	}
	e := sluice.Errorf(sluice.CodeNotFound, "endpoint %s has no deployment %s", o.endpoint, o.deployment)
	if len(names) > 0 {
		e.Hint = "it has " + strings.Join(names, ", ")
	}
	return e
}

// answer prints what the model said.
func (o *invokeOptions) answer(body io.Reader) error {
	_, tty := terminal(o.stdout)
	if o.flags.query == "" && !o.flags.formatGiven && tty {
		return o.raw(body)
	}
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return sluice.Errorf(sluice.CodeUnavailable, "reading the answer: %w", err)
	}
	if len(text) > maxAnswer {
		return sluice.Errorf(sluice.CodeTooLarge, "the answer has more than %d bytes", maxAnswer).
			WithHint("send the request with curl, which can write it to a file")
	}
	return o.print(string(text))
}

// raw shows the answer as it comes, so that a stream is seen growing, but lets
// no control character through to the terminal.
func (o *invokeOptions) raw(body io.Reader) error {
	last := byte('\n')
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		for i, c := range buffer[:n] {
			switch {
			case c < ' ' && c != '\n' && c != '\t' || c == 0x7f:
				buffer[i] = ' '
			case last == 0xc2 && c >= 0x80 && c < 0xa0:
				// U+0080 to U+009F in UTF-8: a blank in its place.
				buffer[i] = 0xa0
			}
			last = c
		}
		if _, err := o.stdout.Write(buffer[:n]); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sluice.Errorf(sluice.CodeUnavailable, "the answer broke off: %w", err)
		}
	}
	if last != '\n' {
		fmt.Fprintln(o.stdout)
	}
	return nil
}

// explaining are the headers that say why a request was not answered.
var explaining = []string{"ms-azureml-model-error-reason", "ms-azureml-model-error-statuscode", "azureml-model-deployment",
	"x-sluice-hint", "retry-after", "x-ms-request-id"}

// refused shows an answer that is not a success, and last of all why the model
// did not answer, where that is known.
func (o *invokeOptions) refused(ctx context.Context, c *arm.Client, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		body = append(body, "…"...) // what there is explains more than nothing
	}
	f := fault{sentence: fmt.Sprintf("endpoint %s answered %s", o.endpoint, resp.Status), hint: resp.Header.Get("x-sluice-hint")}
	for line := range strings.Lines(string(body)) {
		f.evidence = append(f.evidence, line)
	}
	for _, name := range explaining {
		if value := resp.Header.Get(name); value != "" && name != "x-sluice-hint" {
			f.evidence = append(f.evidence, name+": "+value)
		}
	}
	f.write(o.stderr)
	if resp.StatusCode != http.StatusFailedDependency && resp.StatusCode != http.StatusRequestTimeout {
		return silent(exitFailed)
	}
	if trouble := o.trouble(ctx, c, resp.Header); trouble != nil {
		faultOf(trouble).write(o.stderr)
	}
	return silent(exitFailed)
}

// What the answer itself does not say is known a moment later: so long it is
// waited for, in such steps.
const (
	troubleWithin = 2 * time.Second
	troubleStep   = 100 * time.Millisecond
)

// trouble gives why the deployment that answered failed this request, else why
// others to it fail; nil when that is not known.
func (o *invokeOptions) trouble(ctx context.Context, c *arm.Client, answered http.Header) *sluice.Cause {
	name := cmp.Or(answered.Get("azureml-model-deployment"), o.deployment)
	request := answered.Get("x-ms-request-id")
	if name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, troubleWithin)
	defer cancel()
	step := time.NewTicker(troubleStep)
	defer step.Stop()
	var other *sluice.Cause
	for {
		w, err := c.Deployment(ctx, o.endpoint, name)
		if err != nil {
			return other
		}
		d, _, err := w.Domain()
		if err != nil {
			return other
		}
		if other = d.Trouble; other != nil && other.Request == request {
			return other
		}
		select {
		case <-ctx.Done():
			return other
		case <-step.C:
		}
	}
}
