package main

import (
	"bufio"
	"fmt"
	"strings"
)

// confirm asks before something is deleted, unless --yes was given. Where
// nobody can answer, --yes is needed.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	in, tty := terminal(p.stdin)
	if !tty {
		return &usageError{message: "nobody can be asked whether to delete: standard input is not a terminal", hint: "add --yes"}
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(p.stderr)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	p.note("nothing was deleted")
	return silent(exitFailed)
}
