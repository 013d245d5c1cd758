package gateway

import "math/rand/v2"

// newID makes a random UUID of version 4. It is a name, not a secret.
func newID() string {
	const digits = "0123456789abcdef"
	high, low := rand.Uint64(), rand.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(0xc<<60) | 0x8<<60
	var raw [32]byte
	for i := range 16 {
		raw[15-i] = digits[high>>(4*i)&0xf]
		raw[31-i] = digits[low>>(4*i)&0xf]
	}
	var id [36]byte
	copy(id[0:8], raw[0:8])
	copy(id[9:13], raw[8:12])
	copy(id[14:18], raw[12:16])
	copy(id[19:23], raw[16:20])
	copy(id[24:36], raw[20:32])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return string(id[:])
}
