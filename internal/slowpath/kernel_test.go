// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

func random(r *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func expect(t *testing.T, c *net.UDPConn, want []byte) {
	t.Helper()
	buffer := make([]byte, 1<<16)
	n, err := c.Read(buffer)
	if err != nil || !bytes.Equal(buffer[:n], want) {
		t.Fatalf("got %d bytes (%v), want %d", n, err, len(want))
	}
}

// TestKernelReassembles has Linux put together and check what the engine cut, of
// packets whose checksum their sender had left to the interface.
func TestKernelReassembles(t *testing.T) {
	s := newStacks(t)
	client, workload := s.talk(t, client4)
	options := slices.Concat([]byte{7, 7, 4, 0, 0, 0, 0}, []byte{0x94, 4, 0, 0}, []byte{0})
	r := seeded(t)
	for i := range 300 {
		from, to, fd := client, workload, s.extTap
		change := func(ev *Event) { ev.MTU, ev.Target = 80+r.IntN(1300), target }
		if i%2 == 1 {
			from, to, fd = workload, client, s.legTap
			change = func(ev *Event) { ev.MTU, ev.Reply, ev.Leg = 80+r.IntN(1300), true, s.leg.Index }
		}
		if i == 0 || i == 1 {
			setOption(t, from, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		}
		if i == 100 || i == 101 {
			setOptions(t, from, options)
		}
		payload := random(r, 1+r.IntN(1450))
		if _, err := from.Write(payload); err != nil {
			t.Fatal(err)
		}
		s.engine.handle(with(event(Fragment, next(t, fd)), change), time.Now())
		expect(t, to, payload)
	}
	if got := s.engine.Counters(); got.Cut != 300 || got.Pieces < 300 {
		t.Errorf("counted %+v", got)
	}
}

func setOptions(t *testing.T, c *net.UDPConn, options []byte) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var optErr error
	check(t, raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, string(options))
	}))
	check(t, optErr)
}

// TestKernelPutsHeldTogether holds the later fragments of a large datagram, with
// the first one on its way after them.
func TestKernelPutsHeldTogether(t *testing.T) {
	s := newStacks(t)
	r := seeded(t)
	for _, ip := range []packet.IP{client4, client6} {
		client, workload := s.talk(t, ip)
		payload := random(r, 4000)
		if _, err := client.Write(payload); err != nil {
			t.Fatal(err)
		}
		first := next(t, s.extTap)
		for range 2 {
			ev := event(Park, next(t, s.extTap))
			ev.Key = key(ip, 1)
			s.engine.handle(ev, start)
		}
		// The program sends it on.
		s.world.verdicts[key(ip, 1)] = FragmentVerdict{Target: target}
		p, err := packet.Network(first[14:])
		check(t, err)
		s.engine.forward(fragment{frame: first, l3: 14}, p, target)
		s.engine.handle(release(ip, 1), start)
		expect(t, workload, payload)
	}
	if got := s.engine.Counters(); got != (Counters{Released: 4, Forwarded: 6}) {
		t.Errorf("counted %+v", got)
	}
}

// TestKernelAcceptsErrors has Linux learn an MTU from the engine, and hear of an
// expired packet.
func TestKernelAcceptsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		ip                             packet.IP
		level, discover, mtu, errQueue int
	}{
		"IPv4": {client4, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_RECVERR},
		"IPv6": {client6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_RECVERR},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStacks(t)
			client, workload := s.talk(t, c.ip)
			for _, side := range []struct {
				conn   *net.UDPConn
				tap    int
				change func(*Event)
			}{
				{client, s.extTap, func(ev *Event) {}},
				{workload, s.legTap, func(ev *Event) { ev.Reply, ev.Leg = true, s.leg.Index }},
			} {
				setOption(t, side.conn, c.level, c.discover, unix.IP_PMTUDISC_DO) // the same number for IPv6
				big := make([]byte, 1400)
				if _, err := side.conn.Write(big); err != nil {
					t.Fatal(err)
				}
				frame := next(t, side.tap)
				ev := with(event(TooBig, frame), side.change)
				ev.MTU = 1311
				s.engine.handle(ev, time.Now())
				testutil.Eventually(t, ioLimit, "path MTU", func() bool { return getOption(t, side.conn, c.level, c.mtu) == 1311 })
				if _, err := side.conn.Write(big); !errors.Is(err, unix.EMSGSIZE) {
					t.Errorf("a packet over the path MTU: %v", err)
				}
				setOption(t, side.conn, c.level, c.errQueue, 1)
				s.engine.handle(with(event(TimeExceeded, frame), side.change), time.Now())
				if _, err := side.conn.Read(make([]byte, 1)); !errors.Is(err, unix.EHOSTUNREACH) {
					t.Errorf("an expired packet: %v", err)
				}
			}
			if got := s.engine.Counters(); got != (Counters{TimeExceeded: 2, TooBig: 2}) {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

func TestSocket(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	if _, err := OpenSocket("/run/netns/none-such"); err == nil {
		t.Error("opened in a namespace that does not exist")
	}
	s := newStacks(t)
	socket, err := OpenSocket(s.ns)
	check(t, err)
	h := testutil.Handle(t, s.ns)
	_, workload := s.talk(t, client4)
	frame := client4.Packet(toTarget, packet.UDP, client4.UDP(5000, 5000, []byte("hello")))
	check(t, socket.Send(s.leg.Index, frame))
	expect(t, workload, []byte("hello"))
	if err := socket.Send(1<<30, frame); !errors.Is(err, unix.ENXIO) {
		t.Errorf("no interface: %v", err)
	}
	if err := socket.Send(s.leg.Index, make([]byte, 4000)); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("too long: %v", err)
	}
	check(t, h.SetDown(s.leg.Index))
	if err := socket.Send(s.leg.Index, frame); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("interface down: %v", err)
	}
	check(t, h.SetUp(s.leg.Index))
	check(t, socket.Send(s.leg.Index, frame))
	expect(t, workload, []byte("hello"))
	check(t, socket.Close())
	if err := socket.Send(s.leg.Index, frame); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
