package enginetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ml/sluice/engine"
)

// The suite's workloads are played by an actor: a program that does what its
// arguments say, one after another, and then exits with 0.
//
//	print:TEXT     prints a line
//	lines:N        prints N numbered lines of some length
//	paced:N        prints N numbered lines, 2000 a second
//	env:NAME       prints the variable
//	mode:PATH      prints the file's permissions
//	cat:PATH       prints the file
//	leave:N        leaves a termination message of N bytes
//	wait           waits for the polite signal, and prints "told"
//	deaf           ignores the polite signal and waits for ever
//	until:PATH     waits for the file to exist
//	child          starts a deaf actor in a session of its own, and prints "child"
//	serve:PORT=T   answers T to every request on that port of loopback, until
//	               the polite signal
//	exit:N         exits with N
//	kill           kills itself
const (
	told       = "told"
	begot      = "child"
	lineLength = 80
	actorEvery = 5 * time.Millisecond
)

// Act plays the actor in a process. The program under test calls it, as its own
// test binary started again, and exits with what it returns.
func Act(args []string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for _, arg := range args {
		verb, value, _ := strings.Cut(arg, ":")
		switch verb {
		case "wait":
			<-term
			fmt.Println(told)
		case "deaf":
			select {}
		case "until":
			for _, err := os.Stat(value); err != nil; _, err = os.Stat(value) {
				<-time.After(actorEvery)
			}
		case "child":
			if err := startChild(); err != nil {
				fmt.Println("starting a child:", err)
				return 99
			}
		case "serve":
			port, text, _ := strings.Cut(value, "=")
			if err := serve(port, text, term); err != nil {
				fmt.Println("serving:", err)
				return 99
			}
		case "env":
			fmt.Println(os.Getenv(value))
		case "mode":
			fmt.Println(modeOf(value))
		case "cat":
			text, err := os.ReadFile(value)
			fmt.Println(string(text), err)
		case "leave":
			os.WriteFile(os.Getenv("SLUICE_TERMINATION_FILE"), []byte(strings.Repeat("m", number(value))), 0o600)
		case "exit":
			return number(value)
		case "kill":
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {}
		default:
			speak(os.Stdout, verb, value)
		}
	}
	return 0
}

// serve answers text on a port of loopback until told to end.
func serve(port, text string, term <-chan os.Signal) error {
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
	go server.Serve(l) // ends with Close
	<-term
	return server.Close()
}

func startChild() error {
	cmd := exec.Command(os.Args[0], append(actorPrefix(os.Args), "deaf")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(begot)
	return nil
}

// actorPrefix is what came before the verbs: everything up to and including
// the marker.
func actorPrefix(args []string) []string {
	for i, arg := range args {
		if arg == ActorMark {
			return args[1 : i+1]
		}
	}
	return nil
}

// ActorMark is the argument after which the actor's verbs begin. Harness.Actor
// ends with it.
const ActorMark = "--act--"

// ActorArgs gives the verbs if the program was started as the actor.
func ActorArgs(args []string) (verbs []string, ok bool) {
	for i, arg := range args {
		if arg == ActorMark {
			return args[i+1:], true
		}
	}
	return nil, false
}

// Simulate plays the actor for an Engine in memory: it is a Program. Verbs that
// need an operating system do nothing.
func Simulate(p *Process) engine.Exit {
	var exit engine.Exit
	verbs, _ := ActorArgs(p.Command)
	for _, arg := range verbs {
		verb, value, _ := strings.Cut(arg, ":")
		switch verb {
		case "wait":
			select {
			case <-p.Term:
				fmt.Fprintln(p.Stdout, told)
			case <-p.Kill:
				return engine.Exit{Code: 137, Signal: "SIGKILL"}
			}
		case "deaf":
			<-p.Kill
			return engine.Exit{Code: 137, Signal: "SIGKILL"}
		case "env":
			fmt.Fprintln(p.Stdout, p.Env[value])
		case "leave":
			exit.Message = strings.Repeat("m", number(value))
		case "exit":
			exit.Code = number(value)
			return exit
		case "kill":
			return engine.Exit{Code: 137, Signal: "SIGKILL"}
		default:
			speak(p.Stdout, verb, value)
		}
	}
	return exit
}

func speak(w io.Writer, verb, value string) {
	switch verb {
	case "print":
		fmt.Fprintln(w, value)
	case "lines":
		for i := range number(value) {
			fmt.Fprintln(w, line(i))
		}
	case "paced":
		pace(w, number(value))
	}
}

// paceRate is how many lines a second a chatty workload prints.
const paceRate = 2000

// pace prints n numbered lines at the rate, each in a write of its own. When it
// is held up it catches up.
func pace(w io.Writer, n int) {
	tick := time.NewTicker(actorEvery)
	defer tick.Stop()
	began := time.Now()
	for i := 0; i < n; <-tick.C {
		for due := int(time.Since(began).Seconds() * paceRate); i < min(due, n); i++ {
			fmt.Fprintln(w, line(i))
		}
	}
}

// line is the nth numbered line, from 0.
func line(n int) string {
	s := fmt.Sprintf("line %d ", n)
	return s + strings.Repeat("x", lineLength-len(s))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("enginetest: not a number: " + s)
	}
	return n
}

func modeOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return info.Mode().Perm().String()
}
