//go:build !linux

package process

func keepApart(string, Isolation) (keeping, error) {
	_, memory, err := machine()
	return keeping{isolation: None, memory: memory - memory/10,
		weaker: []string{"model code is not isolated on this system: it runs as the user of Sluice; run only code you trust"}}, err
}

func threadsOf(int) int { return 0 }
