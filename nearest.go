package sluice

import (
	"cmp"
	"slices"
	"strings"
)

// Bounds on what is compared: words and candidates may be a stranger's.
const (
	maxNearWord       = 200 // bytes
	maxNearCandidates = 2000
)

// Nearest gives up to n of the candidates that are plausibly what word was
// meant to be, best first: what a hint about a misspelling names. Of very many
// candidates it looks at the first, and of very long words it knows nothing.
func Nearest(word string, candidates []string, n int) []string {
	type scored struct {
		name string
		d    int
	}
	if len(word) > maxNearWord {
		return nil
	}
	candidates = candidates[:min(len(candidates), maxNearCandidates)]
	word = strings.ToLower(word)
	limit := max(2, len(word)/3)
	var near []scored
	for _, c := range candidates {
		if len(c)-len(word) > 2*limit { // by bytes; lower case may be shorter
			continue
		}
		if d := editDistance(word, strings.ToLower(c)); d <= limit {
			near = append(near, scored{c, d})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int { return cmp.Compare(a.d, b.d) })
	var out []string
	for _, s := range near[:min(n, len(near))] {
		out = append(out, s.name)
	}
	return out
}

// editDistance counts insertions, deletions and substitutions of bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
