// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// Other legs come, change and go: numbered packets and TCP connections of a
// leg that stays lose nothing, in both directions.
func TestChangesLoseNothing(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	own := netip.MustParseAddr("172.16.0.1")
	streams := []*stream{
		newStream(t, n.endpoints[0], n.workload, netip.AddrPortFrom(vip4.Addr(), 0)),
		newStream(t, n.endpoints[0], n.workload, netip.AddrPortFrom(vip6.Addr(), 0)),
		newStream(t, n.workload, n.endpoints[0], netip.AddrPortFrom(own, 0)),
	}
	at := testutil.Echo(t, n.endpoints[0], net.JoinHostPort(own.String(), "0"))
	c, err := testutil.Dial(t.Context(), n.workload, "tcp", "", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })

	changed := n.leg(0)
	changed.Client.Addresses = append(changed.Client.Addresses, prefix("20.0.0.9/32"))
	changed.Client.Policies = append(changed.Client.Policies, Policy{From: prefix("20.0.0.9/32"), Routes: []Route{{Prefix: default4, Gateway: gateway4}}})
	for i := range 5 {
		n.connect(t, n.leg(1), changed)
		if err := roundTrip(c, fmt.Sprint("turn ", i)); err != nil {
			t.Fatal(err)
		}
		n.connect(t, n.leg(0))
		start := time.Now()
		n.disconnect(t, "leg-1")
		t.Logf("disconnect under traffic: %v", time.Since(start))
	}
	for _, s := range streams {
		s.finish(t)
	}
}

func roundTrip(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	answer := make([]byte, len(text))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != text {
		return fmt.Errorf("answer %q: %w", answer, err)
	}
	return nil
}

// stream sends numbered packets, one per 100 microseconds, until finish.
type stream struct {
	name     string
	stop     chan struct{}
	sender   sync.WaitGroup
	sent     uint32
	err      error
	mu       sync.Mutex
	received map[uint32]bool
}

func newStream(t *testing.T, from, to string, address netip.AddrPort) *stream {
	t.Helper()
	server := testutil.ListenPacket(t, to, "udp", address.String())
	if err := roomy(server); err != nil {
		t.Fatal(err)
	}
	s := &stream{name: server.LocalAddr().String(), stop: make(chan struct{}), received: map[uint32]bool{}}
	c, err := testutil.Dial(t.Context(), from, "udp", "", s.name)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _, _ = server.Close(), c.Close(); <-done })
	go func() {
		defer close(done)
		s.receive(server)
	}()
	s.sender.Go(func() {
		tick := time.NewTicker(100 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			if _, s.err = c.Write(binary.BigEndian.AppendUint32(nil, s.sent)); s.err != nil {
				return
			}
			s.sent++
		}
	})
	return s
}

// roomy lets a socket wait for a receiver that has no CPU for a while.
func roomy(c net.PacketConn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	})
	return errors.Join(err, set)
}

func (s *stream) receive(c net.PacketConn) {
	buffer := make([]byte, 16)
	for {
		n, _, err := c.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == 4 {
			s.mu.Lock()
			s.received[binary.BigEndian.Uint32(buffer)] = true
			s.mu.Unlock()
		}
	}
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.received)
}

func (s *stream) finish(t *testing.T) {
	t.Helper()
	close(s.stop)
	s.sender.Wait()
	if s.err != nil {
		t.Errorf("%s: %v", s.name, s.err)
	}
	if s.sent == 0 {
		t.Errorf("%s: nothing sent", s.name)
	}
	testutil.Eventually(t, limit, s.name+": every packet arrives", func() bool { return s.count() == int(s.sent) })
}

// After a crash nothing of the former process is in the way.
func TestStartsOverAfterCrash(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	want := n.kinds(t)
	if err := n.Close(true); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{NetNS: n.host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Close(false); err != nil {
			t.Error(err)
		}
	})
	n.Stitcher = again
	n.connect(t, n.leg(0), n.leg(1))
	if diff := cmp.Diff(want, n.kinds(t)); diff != "" {
		t.Error(diff)
	}
	n.exchangeOwn(t, 0)
	n.exchangeOwn(t, 1)
	n.disconnect(t, "leg-1")
	n.exchangeVIP(t, 0)
}

// kinds counts what there is in the workload's namespace.
func (n *node) kinds(t *testing.T) map[string]int {
	t.Helper()
	h := testutil.Handle(t, n.workload)
	links, err := h.Links()
	rules, err2 := h.Rules()
	tables, err3 := h.UsedTables()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return map[string]int{"links": len(links), "rules": len(rules), "tables": len(tables)}
}
