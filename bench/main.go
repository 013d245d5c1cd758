// Command bench measures Sluice side by side with its peers, in one run, on
// one machine.
//
// The last lines it prints are the table, one row a line, tab-separated: name,
// ours, peer, ratio (ours ÷ peer), unit. A row without a peer, or whose peer
// is not installed, has "-" there. What it does on the way goes to standard
// error. Load goes to loopback only, is bounded in count, and stops by itself.
//
//	make bench                 every group
//	make bench BENCH=gateway   one group: gateway, deploy, memory, startup, environment, causes, loss
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// row is one line of the table.
type row struct {
	name string
	ours float64
	peer float64 // 0 for none
	unit string
}

// group measures some rows. Bin is the folder with our two programs.
type group struct {
	name    string
	apart   bool // measured only when it is named
	measure func(ctx context.Context, bin string) ([]row, error)
}

var groups = []group{
	{name: "gateway", measure: gatewayRows},
	{name: "deploy", measure: deployRows},
	{name: "memory", measure: memoryRows},
	{name: "startup", measure: startupRows},
	{name: "environment", measure: environmentRows},
	{name: "causes", measure: causeRows},
	{name: "loss", measure: lossRows},
	{name: "soak", apart: true, measure: soak},
}

func main() {
	bin := flag.String("bin", "bin", "folder with sluice and sluice-runner")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, names []string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	known := []string{"all"}
	for _, g := range groups {
		known = append(known, g.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no group %q: there are %s", name, strings.Join(known, ", "))
		}
	}
	var table []row
	for _, g := range groups {
		if all := len(names) == 0 || slices.Contains(names, "all"); !slices.Contains(names, g.name) && (!all || g.apart) {
			continue
		}
		progress("%s", g.name)
		rows, err := g.measure(ctx, bin)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		table = append(table, rows...)
	}
	for _, r := range table {
		fmt.Println(r)
	}
	return nil
}

// String gives the row as one line of the table.
func (r row) String() string {
	peer, ratio := "-", "-"
	if r.peer > 0 {
		peer, ratio = figure(r.peer), figure(r.ours/r.peer)
	}
	return strings.Join([]string{r.name, figure(r.ours), peer, ratio, r.unit}, "\t")
}

func figure(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// median gives the middle of the values, which it sorts.
func median(values []float64) float64 {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
