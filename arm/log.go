package arm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-ml/sluice"
)

// Instance is one copy of a deployment: Azure has no such call.
type Instance struct {
	ID       string    `json:"id"`
	Phase    string    `json:"phase"` // pending, starting, running, draining, succeeded, failed
	Revision string    `json:"revision,omitempty"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Live reports whether the instance has not ended.
func (i Instance) Live() bool {
	return i.Ended.IsZero() && i.Phase != "succeeded" && i.Phase != "failed"
}

// DeploymentInstances lists a deployment's instances, oldest first. Those that
// ended in the last hour are among them.
func (c *Client) DeploymentInstances(ctx context.Context, endpoint, name string) ([]Instance, error) {
	return all[Instance](ctx, c, c.at(c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name))+"/instances"))
}

// LogKind says what a record in a stream of logs is.
type LogKind byte

// The kinds of records.
const (
	LogBegins LogKind = '@' // of no instance; the text is when the stream began, for LogPlace.Since
	LogJoined LogKind = '+' // the instance's log follows, from the position on; the text is when it was made
	LogLine   LogKind = '|' // a line, or the last piece of one
	LogPiece  LogKind = '>' // a piece of a line that goes on
	LogNote   LogKind = '!' // a sentence about the log
	LogEnded  LogKind = '-' // the instance has ended, and this was all
	LogOver   LogKind = '.' // of no instance: the stream ends here and was not cut off
)

// LogRecord is one line of a stream of logs. On the wire it is
//
//	INSTANCE POSITION KIND TEXT\n
//
// with single spaces, where KIND is one character and TEXT is as the instance
// wrote it, whatever bytes that are. Empty names are "-". Empty lines mean
// nothing: they show that the stream lives.
type LogRecord struct {
	Instance string
	Position string // behind it: where to go on
	Kind     LogKind
	Text     []byte
}

// Append appends the record as it is on the wire.
func (r LogRecord) Append(b []byte) []byte {
	b = append(append(b, orElse(r.Instance, "-")...), ' ')
	b = append(append(b, orElse(r.Position, "-")...), ' ', byte(r.Kind), ' ')
	return append(append(b, r.Text...), '\n')
}

// parseLogRecord reads a line without its end.
func parseLogRecord(line []byte) (LogRecord, bool) {
	instance, rest, ok1 := bytes.Cut(line, []byte(" "))
	position, rest, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || len(rest) < 2 || rest[1] != ' ' {
		return LogRecord{}, false
	}
	r := LogRecord{Instance: string(instance), Position: string(position), Kind: LogKind(rest[0]), Text: rest[2:]}
	if r.Instance == "-" {
		r.Instance = ""
	}
	return r, true
}

// LogAsk says which logs are wanted.
type LogAsk struct {
	Instance string // "" for one that the server chooses
	All      bool
	Follow   bool
	Tail     int // last lines of each; 0 for the server's default
}

// LogPlace is how far a reader came, to go on there. It is kept by
// [Client.StreamLogs]; the zero value is the beginning.
type LogPlace struct {
	since int64 // microseconds since 1970 by the server's clock
	after map[string]string
	order []joined // the instances in after, by when they were first seen
}

// Begun reports whether a stream has begun.
func (p *LogPlace) Begun() bool { return p.since > 0 }

type joined struct {
	instance string
	made     int64
}

// maxPlaces is how many instances a place knows: requests are bounded.
const maxPlaces = 200

// note takes in a record.
func (p *LogPlace) note(r LogRecord) {
	switch {
	case r.Kind == LogBegins:
		p.since, _ = strconv.ParseInt(string(r.Text), 10, 64)
		return
	case r.Instance == "" || r.Kind == LogNote:
		return
	}
	if p.after == nil {
		p.after = map[string]string{}
	}
	if _, known := p.after[r.Instance]; !known {
		made, _ := strconv.ParseInt(string(r.Text), 10, 64)
		p.order = append(p.order, joined{r.Instance, made})
	}
	p.after[r.Instance] = r.Position
	if len(p.order) > maxPlaces {
		// Nothing as old is asked for again.
		p.since = max(p.since, p.order[0].made)
		delete(p.after, p.order[0].instance)
		p.order = slices.Clone(p.order[1:])
	}
}

// maxRecord bounds one record that is read, in bytes. The server's are shorter.
const maxRecord = 128 << 10

// StreamLogs reads logs from a place on and calls each with every record, whose
// text is only valid meanwhile, and idle whenever nothing more is there for
// now. The place is kept up to date. It gives nil when the server said all
// there is to say; an error with CodeUnavailable means that it was cut off, and
// that the same call goes on where it was.
func (c *Client) StreamLogs(ctx context.Context, endpoint, name string, ask LogAsk, place *LogPlace, each func(LogRecord) error, idle func() error) error {
	u := c.at(c.scope.DeploymentID(url.PathEscape(endpoint), url.PathEscape(name)) + "/logs")
	q := u.Query()
	if ask.Instance != "" {
		q.Set("instance", ask.Instance)
	}
	q.Set("all", strconv.FormatBool(ask.All))
	q.Set("follow", strconv.FormatBool(ask.Follow))
	if ask.Tail > 0 {
		q.Set("tail", strconv.Itoa(ask.Tail))
	}
	if place.since > 0 {
		q.Set("since", strconv.FormatInt(place.since, 10))
		for _, known := range place.order {
			q.Add("after", known.instance+"@"+place.after[known.instance])
		}
	}
	u.RawQuery = q.Encode()
	req, err := c.build(ctx, request{method: http.MethodGet, url: u, header: http.Header{"Accept": {"text/plain"}}})
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return answeredError(resp)
	}
	return c.readRecords(ctx, bufio.NewReaderSize(resp.Body, maxRecord), place, each, idle)
}

func (c *Client) readRecords(ctx context.Context, from *bufio.Reader, place *LogPlace, each func(LogRecord) error, idle func() error) error {
	for {
		line, err := from.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return sluice.Errorf(sluice.CodeInternal, "the server sent a line of a log that is too long")
		}
		if err != nil {
			return c.unreachable(ctx, err)
		}
		line = line[:len(line)-1]
		if len(line) > 0 {
			r, ok := parseLogRecord(line)
			if !ok {
				return sluice.Errorf(sluice.CodeInternal, "the server sent a line of a log that cannot be read: %.100q", line)
			}
			if r.Kind == LogOver {
				return idle()
			}
			place.note(r)
			if err := each(r); err != nil {
				return err
			}
		}
		if from.Buffered() == 0 {
			if err := idle(); err != nil {
				return err
			}
		}
	}
}
