package probe

import "time"

// Eager is how often readiness is asked until it is there.
const Eager = 50 * time.Millisecond

// Settings say how answers are judged. Zero values become the defaults.
type Settings struct {
	InitialDelay     time.Duration // failures earlier than this after the beginning do not count; default 0
	Period           time.Duration // between questions, and between failures that count; default 10 s
	Timeout          time.Duration // of one question; DefaultTimeout when 0
	SuccessThreshold int           // successes in a row until passing; default 1
	FailureThreshold int           // failures in a row until failing; default 3
	Eager            time.Duration // between questions until passing; Period when 0
}

func (s Settings) withDefaults() Settings {
	if s.Period <= 0 {
		s.Period = 10 * time.Second
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	if s.Eager <= 0 || s.Eager > s.Period {
		s.Eager = s.Period
	}
	s.SuccessThreshold = max(s.SuccessThreshold, 1)
	if s.FailureThreshold <= 0 {
		s.FailureThreshold = 3
	}
	return s
}

// Verdict is what the answers so far amount to.
type Verdict string

// The verdicts. Waiting comes first and never again:
//
//	waiting → passing ⇄ failing
//	waiting → failing
const (
	Waiting Verdict = "waiting" // neither threshold has been reached yet
	Passing Verdict = "passing"
	Failing Verdict = "failing"
)

// State remembers the answers of one address to one question. Its zero value
// is not useful; start from [Begin].
type State struct {
	Verdict   Verdict
	Began     time.Time // from when InitialDelay is counted
	Asked     time.Time // when the last answer came; zero before the first
	Successes int       // in a row
	Failures  int       // in a row, of those that count
	Counted   time.Time // when the last failure was counted
	Last      Answer    // the newest answer
}

// Begin starts judging something that began at the given time.
func Begin(at time.Time) State { return State{Verdict: Waiting, Began: at} }

// Next takes in the answer that came at now. It changes nothing but what it
// returns.
//
// Until passing, questions come faster than Period; failures still count once
// a Period, so that a threshold of 30 at a period of 10 s gives 300 s however
// often the question was asked.
func (s State) Next(a Answer, now time.Time, set Settings) State {
	set = set.withDefaults()
	s.Asked, s.Last = now, a
	if a.OK() {
		s.Failures, s.Counted = 0, time.Time{}
		s.Successes = min(s.Successes+1, set.SuccessThreshold)
		if s.Successes >= set.SuccessThreshold {
			s.Verdict = Passing
		}
		return s
	}
	s.Successes = 0
	if now.Sub(s.Began) < set.InitialDelay || !s.Counted.IsZero() && now.Sub(s.Counted) < set.Period {
		return s
	}
	s.Failures, s.Counted = min(s.Failures+1, set.FailureThreshold), now
	if s.Failures >= set.FailureThreshold {
		s.Verdict = Failing
	}
	return s
}

// Due says when to ask again: at once at first, eagerly until passing, every
// Period from then on.
func (s State) Due(set Settings) time.Time {
	set = set.withDefaults()
	switch {
	case s.Asked.IsZero():
		return s.Began
	case s.Verdict == Passing:
		return s.Asked.Add(set.Period)
	default:
		return s.Asked.Add(set.Eager)
	}
}

// Deadline says when, if every answer from now on is a failure, the verdict
// will be failing: the bound that the settings put on becoming ready.
func (s State) Deadline(set Settings) time.Time {
	set = set.withDefaults()
	missing := set.FailureThreshold - s.Failures
	switch {
	case missing <= 0:
		return s.Counted
	case !s.Counted.IsZero():
		return s.Counted.Add(time.Duration(missing) * set.Period)
	}
	first := s.Began.Add(set.InitialDelay)
	if s.Asked.After(first) {
		first = s.Asked
	}
	return first.Add(time.Duration(missing-1) * set.Period)
}
