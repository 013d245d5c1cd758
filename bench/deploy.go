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

	"github.com/sluice-ml/sluice/arm"
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
// there already, to the first 200 through the gateway. The script has nothing
// to import and nothing to do in init(), so nothing is to be subtracted.
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
	var times []float64
	for n := range deployments {
		name := fmt.Sprintf("warm-%d", n)
		took, err := s.timeDeployment(ctx, first, name, keys.PrimaryKey)
		if err != nil {
			return nil, err
		}
		progress("%s: %s", name, took)
		times = append(times, took.Seconds()*1000)
		p, err := s.client.DeleteDeployment(ctx, "nothing", name)
		if err == nil && p != nil {
			err = p.Wait(ctx, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return []row{{"warm deploy of a script that does nothing: created to first 200 (bar: 1000)", median(times), 0, "ms"}}, nil
}

func (s *stack) timeDeployment(ctx context.Context, like arm.OnlineDeployment, name, key string) (time.Duration, error) {
	like.ID, like.Name = "", name
	began := time.Now()
	_, poller, err := s.client.PutDeployment(ctx, "nothing", name, like)
	if err != nil {
		return 0, err
	}
	for {
		status, err := s.score(ctx, name, key)
		if err != nil {
			return 0, err
		}
		if status == http.StatusOK {
			break
		}
		if time.Since(began) > time.Minute {
			return 0, fmt.Errorf("deployment %s still answers %d after a minute", name, status)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	return took, poller.Wait(ctx, nil)
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
