// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
)

// steady is numbered packets that pass all the time between pairs of spokes.
type steady struct {
	sent     atomic.Int64
	received []receiver
	stop     chan struct{}
	done     chan error
}

// stream starts to send from the first to the second spoke of each pair.
func stream(t testing.TB, pairs [][2]spoke) *steady {
	t.Helper()
	s := &steady{received: make([]receiver, len(pairs)), stop: make(chan struct{}), done: make(chan error, 1)}
	var sockets [][]net.Conn
	for i, pair := range pairs {
		s.received[i].start(t, pair[1].ns, "10.0.0.2:80")
		sockets = append(sockets, flows(t, pair[0].ns, addresses[1][0].Addr()))
		testutil.MustExchange(t, pair[0].ns, "tcp", "", testutil.Echo(t, pair[1].ns, "10.0.0.2:81")) // resolves
	}
	go func() {
		for n := uint32(0); ; n++ {
			select {
			case <-s.stop:
				s.done <- nil
				return
			default:
			}
			for _, pair := range sockets {
				if err := send(pair, n); err != nil {
					s.done <- err
					return
				}
			}
			s.sent.Add(1)
		}
	}()
	return s
}

// passes waits until so many packets have been sent.
func (s *steady) passes(t testing.TB, n int64) {
	t.Helper()
	testutil.Eventually(t, limit, "traffic", func() bool { return s.sent.Load() >= n })
}

// lossless ends the stream; all its packets have to have arrived.
func (s *steady) lossless(t testing.TB) {
	t.Helper()
	close(s.stop)
	must(t, <-s.done)
	for i := range s.received {
		testutil.Eventually(t, limit, "all packets", func() bool { return s.received[i].count.Load() >= s.sent.Load() })
	}
	t.Logf("%d packets each, none lost", s.sent.Load())
}
