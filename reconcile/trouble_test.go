package reconcile_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/engine"
	"github.com/sluice-ml/sluice/engine/enginetest"
)

// scorer answers as a scoring server does: what is known, and held until that
// changes.
type scorer struct {
	mu      sync.Mutex
	says    map[string]any // of /v2/health/live
	version int
	news    chan struct{}
	ready   bool
}

func (s *scorer) say(ready bool, says map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.says = ready, says
	s.version++
	close(s.news)
	s.news = make(chan struct{})
}

func (s *scorer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	version, news := fmt.Sprintf("v-%d", s.version), s.news
	s.mu.Unlock()
	if r.URL.Path == "/v2/health/live" && r.Header.Get("If-None-Match") == `"`+version+`"` {
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path != "/v2/health/live" {
		if !s.ready {
			rw.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(rw, "Not ready: init")
		}
		return
	}
	says := map[string]any{"version": fmt.Sprintf("v-%d", s.version)}
	for k, v := range s.says {
		says[k] = v
	}
	_ = json.NewEncoder(rw).Encode(says)
}

// serve makes instances answer with the scorer.
func (w *world) serve(s *scorer) {
	w.setBehave(func(p *enginetest.Process) *engine.Exit {
		l, err := net.Listen("unix", w.socket(p.Instance))
		if err != nil {
			return &engine.Exit{Code: 1, Message: err.Error()}
		}
		server := &http.Server{Handler: s}
		go server.Serve(l)
		defer server.Close()
		select {
		case <-p.Term:
		case <-p.Kill:
		}
		return &engine.Exit{}
	})
}

// Why run() fails reaches the deployment although it has succeeded, and goes
// when it is over.
func TestTroubleReachesTheDeployment(t *testing.T) {
	w := newWorld(t)
	s := &scorer{news: make(chan struct{}), ready: true, says: map[string]any{"phase": "ready"}}
	w.serve(s)
	w.run()
	w.create(1)
	w.until("the operation is done", w.done("op1"))
	if d := w.deployment(); d.Trouble != nil {
		t.Errorf("a deployment without requests is in trouble: %+v", d.Trouble)
	}
	s.say(true, map[string]any{"phase": "ready", "trouble": sluice.Cause{Code: sluice.CauseRunRaises, File: "score.py", Line: 9,
		Message: "run() raised KeyError: 'data\x1b' in 12 of the last 12 requests", Request: "r1"}})
	w.until("it is told", func() bool { return w.deployment().Trouble != nil })
	d := w.deployment()
	if c := d.Trouble; d.State != sluice.StateSucceeded || d.Cause != nil || c.Where() != "score.py:9" || c.Request != "r1" || c.Instance == "" ||
		strings.Contains(c.Message, "\x1b") || !strings.Contains(c.Hint, "invoke -n iris -d blue") {
		t.Errorf("the deployment is %s, cause %v, trouble %+v", d.State, d.Cause, c)
	}
	s.say(true, map[string]any{"phase": "ready", "served": true})
	w.until("it is over", func() bool { return w.deployment().Trouble == nil })
}
