package parent

import (
	"errors"
	"io/fs"
	"os"

	"github.com/sluice-ml/sluice/home"
)

// Hold keeps every process of Sluice from starting in a state directory until
// release is called, and returns [ErrRunning] when one runs there. Where there
// is no state directory it holds nothing.
func Hold(d home.Dir) (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, f := range held {
			f.Close()
		}
	}
	if _, err := os.Stat(d.Run()); errors.Is(err, fs.ErrNotExist) {
		return release, nil
	}
	for _, path := range []string{d.ParentLock(), d.ServerLock(), d.GatewayLock()} {
		f, err := acquire(path)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}
