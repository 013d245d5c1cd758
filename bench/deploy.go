package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
	"github.com/sluice-ml/sluice/artifact"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/home"
)

// A script that does nothing: what is left is ours.
var nothing = map[string]string{
	"endpoint.yml": "name: nothing\nauth_mode: key\n",
	"deployment.yml": `name: first
endpoint_name: nothing
code_configuration: {code: ./src, scoring_script: score.py}
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
  conda_file: {dependencies: [pip]}
instance_type: Standard_DS1_v2
instance_count: 1
`,
	"src/score.py": "def init() -> None:\n    pass\n\n\ndef run(data: str) -> str:\n    return data\n",
}

// scoreNothing brings up an endpoint whose one deployment does nothing.
func (s *stack) scoreNothing(ctx context.Context) error {
	dir := filepath.Join(s.home, "nothing")
	for name, text := range nothing {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	if _, err := s.sluice(ctx, "online-endpoint", "create", "-f", filepath.Join(dir, "endpoint.yml")); err != nil {
		return err
	}
	_, err := s.sluice(ctx, "online-deployment", "create", "-f", filepath.Join(dir, "deployment.yml"), "--all-traffic")
	return err
}

// deployments is how many warm deployments are timed; the median counts.
const deployments = 11

// deployRows gives the time from sending a deployment, its environment being
// there already, to the first 200 through the gateway, and where it goes. The
// script has nothing to import and nothing to do in init(), so nothing is to be
// subtracted. Then the same with more instances at once.
func deployRows(ctx context.Context, bin string) ([]row, error) {
	s, err := startStack(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.scoreNothing(ctx); err != nil {
		return nil, err
	}
	first, err := s.client.Deployment(ctx, "nothing", "first")
	if err != nil {
		return nil, err
	}
	keys, err := s.client.Keys(ctx, "nothing")
	if err != nil {
		return nil, err
	}
	var all []timing
	for n := range deployments {
		t, err := s.timeDeployment(ctx, first, fmt.Sprintf("warm-%d", n), keys.PrimaryKey)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	rows := []row{{"warm deploy of a script that does nothing: created to first 200 (bar: 1000)", medianOf(all, func(t timing) time.Duration { return t.total }), 0, "ms"}}
	for _, part := range parts {
		rows = append(rows, row{"  of which " + part.name, medianOf(all, part.of), 0, "ms"})
	}
	for _, count := range []int{10, 50} {
		took, err := s.timeInstances(ctx, first, count)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{fmt.Sprintf("%d instances at once: created to all ready", count), took.Seconds() * 1000, 0, "ms"})
	}
	return rows, nil
}

func medianOf(all []timing, of func(timing) time.Duration) float64 {
	values := make([]float64, 0, len(all))
	for _, t := range all {
		values = append(values, of(t).Seconds()*1000)
	}
	return median(values)
}

// timing is how long one deployment took, and the stages it went through, each
// from the end of the one before.
type timing struct {
	total       time.Duration
	upload      time.Duration // before all that: asking whether the code is there
	accepted    time.Duration // the deployment was checked and written down
	environment time.Duration // its environment was found
	runner      time.Duration // its world was built and the scoring server started
	interpreter time.Duration // Python started and was handed the script
	ready       time.Duration // the script was imported and init() had run
	routes      time.Duration // the gateway had its routes and answered 200
}

var parts = []struct {
	name string
	of   func(timing) time.Duration
}{
	{"asking whether the code is there (before it, not in the sum)", func(t timing) time.Duration { return t.upload }},
	{"accepting the deployment", func(t timing) time.Duration { return t.accepted }},
	{"looking up the environment", func(t timing) time.Duration { return t.environment }},
	{"starting the runner in its world", func(t timing) time.Duration { return t.runner }},
	{"starting the interpreter", func(t timing) time.Duration { return t.interpreter }},
	{"getting ready (import, init)", func(t timing) time.Duration { return t.ready }},
	{"routes, and the first answer", func(t timing) time.Duration { return t.routes }},
}

// timeInstances times a deployment of so many instances until all are ready,
// and deletes it.
func (s *stack) timeInstances(ctx context.Context, like arm.OnlineDeployment, count int) (time.Duration, error) {
	name := fmt.Sprintf("many-%d", count)
	like.ID, like.Name = "", name
	capacity := arm.Int(count)
	like.SKU = &arm.SKU{Name: "Default", Capacity: &capacity}
	began := time.Now()
	_, poller, err := s.client.PutDeployment(ctx, "nothing", name, like)
	if err == nil {
		err = poller.Wait(ctx, nil)
	}
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	progress("%s: %s", name, took)
	return took, s.deleteDeployment(ctx, name)
}

func (s *stack) deleteDeployment(ctx context.Context, name string) error {
	p, err := s.client.DeleteDeployment(ctx, "nothing", name)
	if err != nil || p == nil {
		return err
	}
	return p.Wait(ctx, nil)
}

// timeUpload times the question whether the code of the deployments is there,
// when it is.
func (s *stack) timeUpload(ctx context.Context) (time.Duration, error) {
	tree, base, open, err := artifact.Scan(ctx, filepath.Join(s.home, "nothing", "src"))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	pending, err := s.client.StartPendingUpload(ctx, sluice.KindCode, "bench", "1")
	if err != nil {
		return 0, err
	}
	_, err = s.client.Upload(ctx, pending, base, tree, open, nil)
	return time.Since(began), err
}

func (s *stack) timeDeployment(ctx context.Context, like arm.OnlineDeployment, name, key string) (t timing, err error) {
	if t.upload, err = s.timeUpload(ctx); err != nil {
		return t, err
	}
	like.ID, like.Name = "", name
	began := time.Now()
	_, poller, err := s.client.PutDeployment(ctx, "nothing", name, like)
	if err != nil {
		return t, err
	}
	accepted := time.Now()
	for {
		status, err := s.score(ctx, name, key)
		if err != nil {
			return t, err
		}
		if status == http.StatusOK {
			break
		}
		if time.Since(began) > time.Minute {
			return t, fmt.Errorf("deployment %s still answers %d after a minute", name, status)
		}
		time.Sleep(time.Millisecond)
	}
	answered := time.Now()
	var last arm.Operation
	if err := poller.Wait(ctx, func(op arm.Operation) { last = op }); err != nil {
		return t, err
	}
	t.total, t.accepted = answered.Sub(began), accepted.Sub(began)
	if err := s.divide(&t, last.Properties.Stages, accepted, answered); err != nil {
		return t, err
	}
	progress("%s: %+v", name, t)
	return t, s.deleteDeployment(ctx, name)
}

// divide divides the time of a deployment by what the server noted of its
// operation, and what the shim noted of the instance.
func (s *stack) divide(t *timing, stages []sluice.Stage, accepted, answered time.Time) error {
	at := map[string]time.Time{}
	instance := ""
	for _, stage := range stages {
		if stage.Name == sluice.StageEnvironment {
			at[stage.Name] = stage.Ended
		} else {
			at[stage.Step], instance = stage.Started, stage.Instance
		}
	}
	state, err := shim.ReadState(filepath.Join(home.Dir(s.home).Instances(), instance))
	if err != nil || state == nil {
		return fmt.Errorf("reading when instance %q started: %w", instance, err)
	}
	imports := at[sluice.StepImporting]
	if imports.IsZero() { // over before anybody looked
		imports = at[sluice.StepReady]
	}
	began := accepted
	for _, step := range []struct {
		took *time.Duration
		end  time.Time
	}{{&t.environment, at[sluice.StageEnvironment]}, {&t.runner, state.Started}, {&t.interpreter, imports},
		{&t.ready, at[sluice.StepReady]}, {&t.routes, answered}} {
		*step.took = max(step.end.Sub(began), 0) // work goes on while the answer to the client is on its way
		if step.end.After(began) {
			began = step.end
		}
	}
	return nil
}

func (s *stack) score(ctx context.Context, deployment, key string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.status.GatewayAddress+"/endpoints/nothing/score", bytes.NewReader([]byte("{}")))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("azureml-model-deployment", deployment)
	resp, err := s.client.HTTP().Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
