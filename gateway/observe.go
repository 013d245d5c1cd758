package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// call is what is known of one request, for the counters and the log.
type call struct {
	id         string
	clientID   string
	peer       string
	method     string
	place      place
	deployment string
	instance   string
	began      time.Time
	status     int    // what the caller got; 499 when nobody was left to get it
	model      int    // what the instance answered, 0 for nothing
	reason     string // why it failed
	detail     string // for the log only
	attempts   int
	received   int64 // bytes of the body that came
	sent       int64 // bytes of the body that went back
	tally      *tally
}

// finish counts and logs a request that has ended.
func (g *Gateway) finish(c *call) {
	now := time.Now()
	counts := &g.strays
	if c.tally != nil {
		counts = &c.tally.counts
	}
	counts.add(c.status, now.Sub(c.began), now)
	g.write(c, now)
}

// write makes the access line: of a failed request as a warning, of any other
// at level debug.
func (g *Gateway) write(c *call, now time.Time) {
	level := slog.LevelDebug
	if c.status >= 400 || c.reason != "" {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !g.config.Logger.Enabled(ctx, level) {
		return
	}
	unsaid, ok := int64(0), true
	if level == slog.LevelWarn {
		unsaid, ok = g.speech.allow(now)
	}
	if !ok {
		return
	}
	attrs := []slog.Attr{
		slog.String("requestId", c.id), slog.String("client", c.peer), slog.String("method", c.method),
		slog.Int("status", c.status), slog.Float64("ms", float64(now.Sub(c.began).Microseconds())/1000),
		slog.Int64("received", c.received), slog.Int64("sent", c.sent),
	}
	attrs = addText(attrs, "clientRequestId", cut(c.clientID, 40))
	attrs = addText(attrs, "workspace", c.place.workspace)
	attrs = addText(attrs, "endpoint", c.place.endpoint)
	attrs = addText(attrs, "path", cut(c.place.rest, 200))
	attrs = addText(attrs, "deployment", c.deployment)
	attrs = addText(attrs, "instance", c.instance)
	attrs = addText(attrs, "reason", c.reason)
	attrs = addText(attrs, "detail", c.detail)
	if c.model != 0 {
		attrs = append(attrs, slog.Int("modelStatus", c.model))
	}
	if c.attempts > 1 {
		attrs = append(attrs, slog.Int("attempts", c.attempts))
	}
	if unsaid > 0 {
		attrs = append(attrs, slog.Int64("linesLeftOut", unsaid))
	}
	g.config.Logger.LogAttrs(ctx, level, "request", attrs...)
}

func addText(attrs []slog.Attr, name, value string) []slog.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, slog.String(name, value))
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// maxSpeech is how many lines about failed requests are written in a second:
// strangers must not fill the disk.
const maxSpeech = 100

// speech bounds them. Two requests that meet at the turn of a second may let a
// line more or less through, which is fine.
type speech struct {
	second atomic.Int64
	lines  atomic.Int64
	unsaid atomic.Int64
}

// allow reports whether a line may be written now, and how many were left out
// since the last one.
func (s *speech) allow(now time.Time) (unsaid int64, ok bool) {
	if second := now.Unix(); s.second.Swap(second) != second {
		s.lines.Store(0)
	}
	if s.lines.Add(1) > maxSpeech {
		s.unsaid.Add(1)
		return 0, false
	}
	return s.unsaid.Swap(0), true
}

// metrics is the text of /metrics, in the format that Prometheus reads.
func (g *Gateway) metrics() string {
	var b strings.Builder
	plans := g.endpoints()
	type sample struct {
		labels string
		t      *target
	}
	var samples []sample
	for _, p := range plans {
		for _, t := range p.targets {
			samples = append(samples, sample{fmt.Sprintf("workspace=%q,endpoint=%q,deployment=%q",
				strings.ToLower(p.routes.Workspace), strings.ToLower(p.routes.Endpoint), strings.ToLower(t.Name)), t})
		}
	}
	head := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	head("sluice_gateway_endpoints", "gauge", "Endpoints in the routing table.")
	fmt.Fprintf(&b, "sluice_gateway_endpoints %d\n", len(plans))

	head("sluice_gateway_requests_total", "counter", "Requests that ended, by what the caller got (200 stands for every 2xx).")
	writeCodes(&b, `workspace="",endpoint="",deployment=""`, &g.strays)
	for _, s := range samples {
		writeCodes(&b, s.labels, &s.t.tally.counts)
	}
	head("sluice_gateway_request_seconds_total", "counter", "Time that the requests took, summed.")
	for _, s := range samples {
		fmt.Fprintf(&b, "sluice_gateway_request_seconds_total{%s} %g\n", s.labels, float64(s.t.tally.counts.micros.Load())/1e6)
	}
	now := time.Now()
	gauges := []struct {
		name, help string
		of         func(*target) int64
	}{
		{"sluice_gateway_in_flight", "Requests that instances are running.", func(t *target) int64 { l, _ := t.load(now); return int64(l.InFlight) }},
		{"sluice_gateway_waiting", "Requests that wait for an instance.", func(t *target) int64 { l, _ := t.load(now); return int64(l.Waiting) }},
		{"sluice_gateway_instances", "Instances that take requests.", func(t *target) int64 { return int64(len(t.ready)) }},
		{"sluice_gateway_instances_set_aside", "Instances that failed a moment ago.", func(t *target) int64 { l, _ := t.load(now); return int64(len(l.Bad)) }},
	}
	for _, m := range gauges {
		head(m.name, "gauge", m.help)
		for _, s := range samples {
			fmt.Fprintf(&b, "%s{%s} %d\n", m.name, s.labels, m.of(s.t))
		}
	}
	return b.String()
}

func writeCodes(b *strings.Builder, labels string, c *counts) {
	for i, status := range counted {
		if n := c.byStatus[i].Load(); n > 0 {
			fmt.Fprintf(b, "sluice_gateway_requests_total{%s,code=\"%d\"} %d\n", labels, status, n)
		}
	}
}
