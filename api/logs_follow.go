package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

const (
	// lookEvery is how often a follower looks for new instances.
	lookEvery = time.Second / 2
	// stillHere is how often a stream without output shows that it lives: a
	// connection that is gone shows only when something is sent.
	stillHere = 15 * time.Second
	// maxPiece bounds what is sent of a line at once. A longer one comes in
	// pieces.
	maxPiece = 64 << 10
)

// follower reads the logs of instances, each on a goroutine of its own, and
// sends them one block of whole lines at a time. What it holds in memory is a
// block for each instance that lives.
type follower struct {
	server     *server
	deployment *sluice.Deployment
	ask        logAsk
	began      time.Time
	out        *stream

	blocks   chan []byte // whole records, from the readers
	over     chan string // instances that were read to their end
	group    sync.WaitGroup
	attached map[string]bool // the handler's goroutine only, as is what follows
	reading  int
	late     bool // a look was made since the last reader ended
}

// run sends all there is to send, and at the end says that this was all. An
// error means that the stream was cut off.
func (f *follower) run(ctx context.Context, all []arm.Instance) error {
	if err := f.out.write(arm.LogRecord{Kind: arm.LogBegins, Text: strconv.AppendInt(nil, f.began.UnixMicro(), 10)}); err != nil {
		return err
	}
	send := f.once
	if f.ask.follow {
		send = f.follow
	}
	if err := send(ctx, all); err != nil {
		return err
	}
	return f.out.write(arm.LogRecord{Kind: arm.LogOver})
}

// once sends what there is, instance by instance.
func (f *follower) once(ctx context.Context, all []arm.Instance) error {
	for _, i := range f.ask.wanted(all) {
		if err := f.read(ctx, i, f.ask.after[i.ID], f.ask.tail, f.out.send); err != nil {
			return err
		}
	}
	return nil
}

// follow sends what there is and what comes, until the reader is gone, the one
// instance that was asked for has ended, or the deployment is no more.
func (f *follower) follow(ctx context.Context, all []arm.Instance) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.group.Wait()
	defer cancel()
	for _, i := range f.ask.wanted(all) {
		tail := f.ask.tail
		if f.ask.goesOn() {
			tail = 0 // it came while nobody was there: everything
		}
		f.attach(ctx, i, f.ask.after[i.ID], tail)
	}
	f.late = f.reading == 0
	look, still := time.NewTicker(lookEvery), time.NewTicker(stillHere)
	defer look.Stop()
	defer still.Stop()
	gone := false
	for {
		var err error
		select {
		case block := <-f.blocks:
			err = f.out.send(block)
			still.Reset(stillHere)
		case <-f.over:
			f.reading, f.late = f.reading-1, false
		case <-still.C:
			err = f.out.send([]byte("\n"))
		case <-look.C:
			if !gone {
				gone, err = f.look(ctx)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if f.reading == 0 && (gone || f.ask.instance != "") {
			return nil
		}
	}
}

// look attaches what is new, and says whether the deployment is gone.
func (f *follower) look(ctx context.Context) (gone bool, err error) {
	d := f.deployment
	now, err := get[*sluice.Deployment](ctx, f.server, d.Key())
	if sluice.ErrorCode(err) == sluice.CodeNotFound || err == nil && now.UID != d.UID {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if f.ask.instance != "" || !f.ask.all && f.reading > 0 {
		return false, nil
	}
	all, err := f.server.Instances.Of(ctx, d.UID)
	if err != nil {
		return false, err
	}
	var fresh []arm.Instance
	for _, i := range all {
		if !f.attached[i.ID] && (i.Live() || i.Created.After(f.began)) {
			fresh = append(fresh, i)
		}
	}
	if !f.ask.all {
		// The replacement is given the time to appear before a sibling is taken.
		if !f.late {
			f.late = true
			return false, nil
		}
		fresh = chosen(fresh)
	}
	for _, i := range fresh {
		f.attach(ctx, i, "", 0)
	}
	return false, nil
}

// attach begins to read an instance's log.
func (f *follower) attach(ctx context.Context, i arm.Instance, from string, tail int) {
	f.attached[i.ID] = true
	f.reading++
	f.group.Go(func() {
		err := f.read(ctx, i, from, tail, func(block []byte) error {
			select {
			case f.blocks <- block:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			f.server.Logger.Error("reading the log of an instance", "instance", i.ID, "error", err.Error())
		}
		select {
		case f.over <- i.ID:
		case <-ctx.Done():
		}
	})
}

// read sends the log of one instance as records.
func (f *follower) read(ctx context.Context, i arm.Instance, from string, tail int, send func([]byte) error) error {
	log, err := f.server.Instances.Log(ctx, i.ID, tail, from, f.ask.follow)
	if sluice.ErrorCode(err) == sluice.CodeNotFound {
		return nil // forgotten meanwhile
	}
	if err != nil {
		return err
	}
	defer log.Close()
	if err := send(arm.LogRecord{Instance: i.ID, Position: log.Position(0), Kind: arm.LogJoined,
		Text: strconv.AppendInt(nil, i.Created.UnixMicro(), 10)}.Append(nil)); err != nil {
		return err
	}
	if err := readRecords(log, i.ID, send); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err() // it was cut off, and has not ended
	}
	return send(arm.LogRecord{Instance: i.ID, Position: log.Position(0), Kind: arm.LogEnded}.Append(nil))
}

// readRecords reads a log to its end and gives it in blocks of whole records. A
// line without an end is kept until it has one, or is as long as a piece.
func readRecords(log Log, instance string, send func([]byte) error) error {
	chunk := make([]byte, 32<<10)
	var line []byte // begun, not sent
	for {
		n, err := log.Read(chunk)
		var block []byte
		put := func(kind arm.LogKind, position string, text []byte) {
			block = arm.LogRecord{Instance: instance, Position: position, Kind: kind, Text: text}.Append(block)
		}
		if log.Lost() {
			put(arm.LogNote, log.Position(n), []byte("some of its output is not kept any more and is left out here"))
		}
		for rest := chunk[:n]; len(rest) > 0; {
			end := bytes.IndexByte(rest, '\n')
			size, kind, skip := end, arm.LogLine, 1
			if room := maxPiece - len(line); end < 0 || end > room {
				size, kind, skip = min(len(rest), room), arm.LogPiece, 0
			}
			line = append(line, rest[:size]...)
			rest = rest[size+skip:]
			if kind == arm.LogLine || len(line) == maxPiece {
				put(kind, log.Position(len(rest)), line)
				line = line[:0]
			}
		}
		if err != nil && len(line) > 0 {
			put(arm.LogPiece, log.Position(0), line)
		}
		if len(block) > 0 {
			if err := send(block); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
