//go:build !unix

package disk

// look is not known here.
func look(string) (Room, bool) { return Room{}, false }
