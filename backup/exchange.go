package backup

import (
	"errors"
	"os"
)

// inTurn has two folders change their names one after the other. When it is cut
// off both are there: nothing is at b, what was there is at b+".moving".
func inTurn(a, b string) error {
	moving := b + ".moving"
	if err := os.Rename(b, moving); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(moving, b))
	}
	return os.Rename(moving, a)
}
