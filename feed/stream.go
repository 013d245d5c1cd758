package feed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sluice-ml/sluice"
)

// What the contract fixes.
const (
	version = 1       // what we know best
	oldest  = 1       // what we still know
	maxLine = 8 << 20 // bytes of one message

	pingAfter  = 10 * time.Second
	deadAfter  = 30 * time.Second
	sendWithin = 10 * time.Second
)

// message is one line of the stream, either way.
type message struct {
	Hello  *hello         `json:"hello,omitempty"`
	Refuse string         `json:"refuse,omitempty"`
	Routes *sluice.Routes `json:"routes,omitempty"`
	Synced bool           `json:"synced,omitempty"`
	Load   *sluice.Load   `json:"load,omitempty"`
	Ping   bool           `json:"ping,omitempty"`
	// Applied says which routes the gateway serves with now.
	Applied []applied `json:"applied,omitempty"`
}

// applied is the version of one endpoint's routes.
type applied struct {
	Workspace string `json:"workspace"`
	Endpoint  string `json:"endpoint"`
	Version   int64  `json:"version"`
}

func appliedOf(r sluice.Routes) applied {
	return applied{Workspace: r.Workspace, Endpoint: r.Endpoint, Version: r.Version}
}

// hello opens the stream on each side.
type hello struct {
	Version int    `json:"version"`
	Oldest  int    `json:"oldest,omitempty"`
	Name    string `json:"name,omitempty"`
}

// errTooLong ends a stream whose other side breaks the bound on messages.
var errTooLong = errors.New("a message is longer than 8 MiB")

// stream frames messages on a connection. One goroutine may receive while
// another sends.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	line []byte // reused by receive
}

func newStream(conn net.Conn) *stream {
	return &stream{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), out: bufio.NewWriterSize(conn, 16<<10)}
}

// receive gives the next message. It fails when none comes for deadAfter.
func (s *stream) receive() (message, error) {
	var m message
	if err := s.conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
		return m, err
	}
	s.line = s.line[:0]
	for {
		part, err := s.in.ReadSlice('\n')
		if len(s.line)+len(part) > maxLine {
			return m, errTooLong
		}
		s.line = append(s.line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return m, err
		}
	}
	if len(bytes.TrimSpace(s.line)) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(s.line, &m); err != nil {
		return message{}, fmt.Errorf("reading a message: %w", err)
	}
	if cap(s.line) > 1<<20 {
		s.line = nil // one huge message should not be paid for ever after
	}
	return m, nil
}

// send writes the messages and flushes them.
func (s *stream) send(messages ...message) error {
	for _, m := range messages {
		text, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("writing a message: %w", err)
		}
		if len(text) >= maxLine {
			return errTooLong
		}
		if err := s.conn.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
			return err
		}
		if _, err := s.out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return s.out.Flush()
}

// agree gives the version to speak with a peer, or why there is none.
func agree(peer hello) (int, error) {
	speak := min(version, peer.Version)
	if speak < oldest || speak < peer.Oldest {
		return 0, fmt.Errorf("versions %d to %d of the feed are spoken here, not %d to %d: run the same Sluice on both sides",
			oldest, version, peer.Oldest, peer.Version)
	}
	return speak, nil
}
