package serve

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ml/sluice"
)

// endTime bounds how long one process of a kind waits for the end of the one
// before it: its sockets end a moment before it does.
const endTime = 5 * time.Second

// alone takes the lock that one server, or one gateway, of a state directory
// holds while it lives. A second one would take the sockets of the first and
// act on the same instances, so it is refused. Closing the file, or the end of
// the process however it comes, gives the lock back.
func alone(ctx context.Context, path, what string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for {
		lock, err := tryLock(path)
		if lock != nil || err != nil {
			return lock, err
		}
		if pause(ctx, 5*time.Millisecond) != nil {
			return nil, sluice.Errorf(sluice.CodeBusy, "another %s runs in %s", what, filepath.Dir(filepath.Dir(path))).
				WithHint("`sluice up` runs both; for a second installation set SLUICE_HOME to another folder")
		}
	}
}
