package probe_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-ml/sluice/probe"
)

var began = time.Unix(1_000_000, 0)

func at(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

var (
	yes = probe.Answer{Status: 200}
	no  = probe.Answer{Status: 503}
	mum = probe.Answer{Err: errors.New("refused")}
)

func TestNext(t *testing.T) {
	type step struct {
		at     float64
		answer probe.Answer
		want   probe.Verdict
	}
	for name, test := range map[string]struct {
		set   probe.Settings
		steps []step
	}{
		"the first success passes": {probe.Settings{}, []step{{0, mum, probe.Waiting}, {1, yes, probe.Passing}}},
		"a success passes during the initial delay": {probe.Settings{InitialDelay: time.Hour},
			[]step{{0, no, probe.Waiting}, {1, yes, probe.Passing}}},
		"failures before the initial delay do not count": {
			probe.Settings{InitialDelay: 10 * time.Second, Period: time.Second, FailureThreshold: 2},
			[]step{{1, no, probe.Waiting}, {5, no, probe.Waiting}, {9.9, mum, probe.Waiting},
				{10, no, probe.Waiting}, {11, no, probe.Failing}}},
		"eager failures count once a period": {
			probe.Settings{Period: 10 * time.Second, FailureThreshold: 3, Eager: probe.Eager},
			[]step{{0, no, probe.Waiting}, {0.05, no, probe.Waiting}, {9.95, no, probe.Waiting}, {10, no, probe.Waiting},
				{10.05, no, probe.Waiting}, {19.95, no, probe.Waiting}, {20, no, probe.Failing}}},
		"success in a row": {probe.Settings{SuccessThreshold: 3},
			[]step{{0, yes, probe.Waiting}, {1, yes, probe.Waiting}, {2, no, probe.Waiting},
				{3, yes, probe.Waiting}, {4, yes, probe.Waiting}, {5, yes, probe.Passing}}},
		"a few failures do not end passing, and are forgotten": {
			probe.Settings{Period: time.Second, FailureThreshold: 2},
			[]step{{0, yes, probe.Passing}, {1, no, probe.Passing}, {2, yes, probe.Passing}, {3, no, probe.Passing},
				{4, mum, probe.Failing}, {5, no, probe.Failing}, {6, yes, probe.Passing}}},
		"redirects pass, client errors do not": {probe.Settings{FailureThreshold: 1},
			[]step{{0, probe.Answer{Status: 399}, probe.Passing}, {10, probe.Answer{Status: 400}, probe.Failing},
				{20, probe.Answer{Status: 199}, probe.Failing}, {30, probe.Answer{}, probe.Failing}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := probe.Begin(began)
			for _, step := range test.steps {
				s = s.Next(step.answer, at(step.at), test.set)
				if s.Verdict != step.want {
					t.Fatalf("after %s at %g s the verdict is %s, want %s", step.answer, step.at, s.Verdict, step.want)
				}
			}
		})
	}
}

func TestDue(t *testing.T) {
	set := probe.Settings{Period: 10 * time.Second, Eager: probe.Eager}
	s := probe.Begin(began)
	got := []time.Time{s.Due(set)}
	for _, answer := range []probe.Answer{no, yes, no} {
		s = s.Next(answer, s.Due(set), set)
		got = append(got, s.Due(set))
	}
	want := []time.Time{at(0), at(0.05), at(10.05), at(20.05)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("times to ask (-want +got):\n%s", diff)
	}
}

// Deadline must be what happens when the answer is no for ever.
func TestDeadlineIsWhenItFails(t *testing.T) {
	for _, set := range []probe.Settings{
		{},
		{InitialDelay: 10 * time.Second, Period: 10 * time.Second, FailureThreshold: 30, Eager: probe.Eager},
		{InitialDelay: 3 * time.Second, Period: time.Second, FailureThreshold: 1},
		{Period: 7 * time.Second, FailureThreshold: 4, Eager: time.Second},
	} {
		s := probe.Begin(began)
		bound := s.Deadline(set)
		for s.Verdict == probe.Waiting {
			now := s.Due(set)
			s = s.Next(no, now, set)
			if d := s.Deadline(set); d.Before(bound) {
				t.Fatalf("%+v: the deadline went from %s to %s", set, bound, d)
			}
		}
		if late := s.Asked.Sub(bound); late < 0 || late > 10*time.Second {
			t.Errorf("%+v: it failed %s after its deadline", set, late)
		}
		if !s.Deadline(set).Equal(s.Asked) {
			t.Errorf("%+v: it failed at %s, and says %s", set, s.Asked, s.Deadline(set))
		}
	}
}
