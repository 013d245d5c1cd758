package parent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice/disk"
)

const (
	// maxLog is when a log is set aside, in bytes. One former log is kept.
	maxLog = 50 << 20
	// logsEvery is how often the logs are looked at: nothing we run writes
	// faster than some megabytes in that time.
	logsEvery = 30 * time.Second
)

// logFile opens a child's log. It is opened to append, so that it can be cut
// while the child writes.
func (p *parent) logFile(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(p.Home.Logs(), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, disk.Explain("the log of the "+name, p.Home.Logs(), fmt.Errorf("opening the log: %w", err))
	}
	return f, nil
}

// keepLogsShort sets aside what has grown, now and then, until the context is
// done.
func (p *parent) keepLogsShort(ctx context.Context) {
	tick := time.NewTicker(logsEvery)
	defer tick.Stop()
	for {
		for _, name := range append([]string{"parent"}, childNames...) {
			if err := setAside(filepath.Join(p.Home.Logs(), name+".log"), maxLog); err != nil {
				p.Logger.Warn("setting a log aside", "log", name, "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// setAside copies a log that is longer than most bytes to its former name and
// empties it. Lines written between the two are lost; the file itself must
// stay, because who writes it will not open it again.
func setAside(path string, most int64) error {
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil || info.Size() <= most {
		return err
	}
	former, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(former, io.LimitReader(log, info.Size()))
	// Even where no copy could be made, for example on a full disk, the log
	// must not grow on.
	return errors.Join(err, former.Close(), log.Truncate(0))
}
