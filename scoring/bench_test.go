//go:build unix

package scoring

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const noop = `
def init():
    pass
def run(data):
    return 1
`

// BenchmarkScore is a run() that does nothing, through the Unix socket, with a
// client that shares the machine.
func BenchmarkScore(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			benchmark(b, start(b, noop), clients, `{"data": [1, 2, 3, 4]}`)
		})
	}
	b.Run("MiB", func(b *testing.B) {
		b.SetBytes(1 << 20)
		benchmark(b, start(b, noop), 8, strings.Repeat("x", 1<<20))
	})
}

// BenchmarkOriginal is the same with the original server, over TCP.
func BenchmarkOriginal(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			benchmark(b, startOriginal(b, noop), clients, `{"data": [1, 2, 3, 4]}`)
		})
	}
	b.Run("MiB", func(b *testing.B) {
		b.SetBytes(1 << 20)
		benchmark(b, startOriginal(b, noop), 8, strings.Repeat("x", 1<<20))
	})
}

// benchmark lets a fixed number of clients share b.N requests. The client is
// as small as one can be, because it takes its time from the same cores.
func benchmark(b *testing.B, r *running, clients int, body string) {
	request := fmt.Appendf(nil, "POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c := &benchClient{r: r}
			defer c.close()
			for left.Add(-1) >= 0 {
				if err := c.post(request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// benchClient keeps its connection for as long as the server lets it.
type benchClient struct {
	r    *running
	conn net.Conn
	in   *bufio.Reader
}

func (c *benchClient) post(request []byte) error {
	if c.conn == nil {
		conn, err := c.r.client.Transport.(*http.Transport).DialContext(context.Background(), "", "")
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	status, length, closes := "", 0, false
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch text := string(bytes.TrimRight(line, "\r\n")); {
		case status == "":
			status = text
			continue
		case text == "Connection: close":
			closes = true
			continue
		case strings.HasPrefix(text, "Content-Length: "):
			if length, err = strconv.Atoi(text[len("Content-Length: "):]); err != nil {
				return err
			}
			continue
		case text != "":
			continue
		}
		break
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") || string(body) != "1" {
		return fmt.Errorf("got %s %s", status, body)
	}
	if closes {
		c.close()
	}
	return nil
}

func (c *benchClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
