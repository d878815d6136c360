// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
)

const (
	streamCount = 300     // connections at once
	streamSize  = 1 << 17 // bytes each way
)

// eachOffload runs a test with packets as large as the stacks make them, and with
// what would be on a wire.
func eachOffload(t *testing.T, targets int, test func(t *testing.T, s *stacks, whole bool)) {
	for name, whole := range map[string]bool{"offloads": true, "no offloads": false} {
		t.Run(name, func(t *testing.T) {
			s := newStacks(t, targets)
			if !whole {
				s.turnOffloadsOff(t)
			}
			test(t, s, whole)
			s.lossless(t)
		})
	}
}

// TestTCP has hundreds of connections at once carry data both ways.
func TestTCP(t *testing.T) {
	eachOffload(t, 3, func(t *testing.T, s *stacks, whole bool) {
		for _, v := range ipVersions {
			for _, ns := range s.targets {
				serveStreams(t, ns, netip.AddrPortFrom(v.vip, 80))
			}
		}
		for _, v := range ipVersions {
			t.Run(v.name, func(t *testing.T) {
				before := s.traffic(t)
				manyStreams(t, s.client, netip.AddrPortFrom(v.vip, 80), streamCount)
				for i, n := range s.traffic(t) {
					n.Packets, n.Bytes = n.Packets-before[i].Packets, n.Bytes-before[i].Bytes
					checkSizes(t, fmt.Sprintf("target %d", i), n, whole)
				}
			})
		}
		// Stacks that are kept waiting send again what was not lost: all of it
		// has arrived twice.
		counters := stackCounters(t, s.client)
		t.Logf("the client sent %d segments, and %d again", counters["Tcp OutSegs"], counters["Tcp RetransSegs"])
	})
}

// checkSizes checks that packets of many segments stayed whole on their way, or
// that there are none. Half of the packets are nothing but acknowledgements.
func checkSizes(t *testing.T, what string, n Traffic, whole bool) {
	t.Helper()
	const frame, segment = 1514, 1448
	if n.Packets == 0 {
		t.Errorf("%s: no traffic", what)
		return
	}
	if whole && n.Packets > n.Bytes/segment/2 {
		t.Errorf("%s: %d packets of %d bytes on average, as if they had been cut", what, n.Packets, n.Bytes/n.Packets)
	}
	if !whole && n.Bytes > n.Packets*frame {
		t.Errorf("%s: %d packets of %d bytes on average, longer than frames are", what, n.Packets, n.Bytes/n.Packets)
	}
}

// traffic returns what each target has got.
func (s *stacks) traffic(t *testing.T) []Traffic {
	t.Helper()
	list := make([]Traffic, len(s.targets))
	for i := range list {
		var err error
		list[i], err = s.lb.TargetTraffic(uint16(i + 1))
		check(t, err)
	}
	return list
}

// manyStreams opens connections, all at once, and checks what they carry.
func manyStreams(t *testing.T, ns string, to netip.AddrPort, count int) {
	t.Helper()
	failed := make(chan error, count)
	for i := range count {
		go func() { failed <- askStreams(ns, to, uint64(2*i)) }()
	}
	for range count {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// askStreams has a server send a stream while it sends another.
func askStreams(ns string, to netip.AddrPort, seed uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), stackLimit)
	defer cancel()
	c, err := testutil.Dial(ctx, ns, "tcp", "", to.String())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return carry(c, seed, func() error {
		return binary.Write(c, binary.BigEndian, seed)
	}, seed+1)
}

// serveStreams answers the clients of askStreams until cleanup.
func serveStreams(t *testing.T, ns string, at netip.AddrPort) {
	l := testutil.Listen(t, ns, "tcp", at.String())
	var group sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer func() { _ = c.Close() }()
				var seed uint64
				err := errors.Join(c.SetDeadline(time.Now().Add(stackLimit)), binary.Read(c, binary.BigEndian, &seed))
				if err == nil {
					err = carry(c, seed+1, func() error { return nil }, seed)
				}
				if err != nil {
					t.Errorf("server of %s: %v", c.RemoteAddr(), err)
				}
			})
		}
	})
}

// carry sends the stream of a seed after a greeting, and receives another one.
func carry(c net.Conn, seed uint64, greet func() error, want uint64) error {
	if err := c.SetDeadline(time.Now().Add(stackLimit)); err != nil {
		return err
	}
	if err := greet(); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(c, newStream(seed), streamSize)
		sent <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	got, expected := crc32.NewIEEE(), crc32.NewIEEE()
	n, err := io.Copy(got, c)
	_, _ = io.CopyN(expected, newStream(want), streamSize)
	if err == nil && (n != streamSize || got.Sum32() != expected.Sum32()) {
		err = fmt.Errorf("%d bytes with sum %x, want %d with %x", n, got.Sum32(), streamSize, expected.Sum32())
	}
	return errors.Join(err, <-sent)
}

// newStream yields endless bytes that depend on the seed.
func newStream(seed uint64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// iperfResult is what matters of a report of iperf3.
type iperfResult struct {
	Error string `json:"error"`
	End   struct {
		Sent     iperfSum `json:"sum_sent"`
		Received iperfSum `json:"sum_received"`
		Back     iperfSum `json:"sum_received_bidir_reverse"`
	} `json:"end"`
}

type iperfSum struct {
	Bytes       uint64  `json:"bytes"`
	BitsPerSec  float64 `json:"bits_per_second"`
	Retransmits int     `json:"retransmits"`
}

// TestIperf has iperf3 send as fast as it can, both ways at once. Its connections
// belong together, so that there is one target.
func TestIperf(t *testing.T) {
	testutil.Require(t, "iperf3")
	eachOffload(t, 1, func(t *testing.T, s *stacks, whole bool) {
		eachVersion(t, func(t *testing.T, v ipVersion) {
			serveIperf(t, s.targets[0], v.vip)
			before := s.traffic(t)[0]
			var report []byte
			check(t, netns.Do(s.client, func() (err error) {
				report, err = exec.CommandContext(t.Context(), "iperf3", "-c", v.vip.String(), "-P", "4", "-t", "1", "--bidir", "-J").Output()
				return err
			}))
			var result iperfResult
			check(t, json.Unmarshal(report, &result))
			end := result.End
			if result.Error != "" || end.Received.Bytes == 0 || end.Back.Bytes == 0 {
				t.Fatalf("iperf3: %s\n%s", result.Error, report)
			}
			t.Logf("%.1f Gbit/s there, %.1f back, %d segments sent again", end.Received.BitsPerSec/1e9, end.Back.BitsPerSec/1e9, end.Sent.Retransmits)
			n := s.traffic(t)[0]
			checkSizes(t, "target", Traffic{n.Packets - before.Packets, n.Bytes - before.Bytes}, whole)
		})
	})
}

// serveIperf runs a server for one client.
func serveIperf(t *testing.T, ns string, vip netip.Addr) {
	t.Helper()
	server := exec.CommandContext(t.Context(), "iperf3", "-s", "-1", "-B", vip.String(), "--forceflush")
	out, err := server.StdoutPipe()
	check(t, err)
	check(t, netns.Do(ns, server.Start))
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-done
		_ = server.Wait()
	})
	listening := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Server listening") {
				close(listening)
			}
		}
	}()
	select {
	case <-listening:
	case <-done:
		t.Fatal("iperf3 does not listen")
	case <-time.After(stackLimit):
		t.Fatal("iperf3 does not listen in time")
	}
}
