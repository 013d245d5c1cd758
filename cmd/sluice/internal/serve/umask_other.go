//go:build !unix

package serve

func makeReadable() {}
