// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/packet"
)

// dropsOf returns how many packets were dropped for a reason.
func (s *stacks) dropsOf(t *testing.T, r Reason) uint64 {
	t.Helper()
	counts, err := s.lb.Counters()
	check(t, err)
	return counts[r]
}

// eachMTU runs a test for path MTUs that are possible in both versions of IP.
func eachMTU(t *testing.T, test func(t *testing.T, v ipVersion, mtu int)) {
	eachVersion(t, func(t *testing.T, v ipVersion) {
		for _, mtu := range []int{1400, 1280} {
			t.Run(fmt.Sprintf("MTU %d", mtu), func(t *testing.T) { test(t, v, mtu) })
		}
	})
}

// TestPathMTU has clients find out that the legs take less than their interfaces:
// from the VIP, and without a broken connection.
func TestPathMTU(t *testing.T) {
	eachMTU(t, func(t *testing.T, v ipVersion, mtu int) {
		s := newStacks(t, 2)
		s.setLegMTU(t, mtu)
		for _, ns := range s.targets {
			echoUDP(t, ns, addrPort(v.vip, 53))
			serveStreams(t, ns, addrPort(v.vip, 80))
		}
		// TCP first, while the client's stack knows nothing.
		manyStreams(t, s.client, addrPort(v.vip, 80), 20)
		if s.dropsOf(t, DropTooBig) == 0 || s.lb.SlowPath().TooBig == 0 {
			t.Error("no segment was too big")
		}
		s.forgetRoutes(t, s.client)
		c := dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, 53))
		learnMTU(t, v, c, mtu, v.vip)
		expectEcho(t, c, mtu-v.header-8)
		s.lossless(t, DropTooBig)
	})
}

// TestPathMTUOfReplies is the same the other way: the external interface takes
// less than the workload's, whose gateway says so.
func TestPathMTUOfReplies(t *testing.T) {
	eachMTU(t, func(t *testing.T, v ipVersion, mtu int) {
		s := newStacks(t, 1)
		s.setExternalMTU(t, mtu)
		serveStreams(t, s.targets[0], addrPort(v.vip, 80))
		manyStreams(t, s.client, addrPort(v.vip, 80), 20)
		if s.dropsOf(t, DropTooBig) == 0 || s.lb.SlowPath().TooBig == 0 {
			t.Error("no segment was too big")
		}
		s.forgetRoutes(t, s.targets[0])
		echoUDP(t, s.client, addrPort(v.client, 54))
		c := dialUDP(t, s.targets[0], addrPort(v.vip, 53), addrPort(v.client, 54))
		learnMTU(t, v, c, mtu, v.gate)
		expectEcho(t, c, mtu-v.header-8)
		s.lossless(t, DropTooBig)
	})
}

// forgetRoutes makes a stack forget the path MTUs that it has learnt.
func (s *stacks) forgetRoutes(t *testing.T, ns string) {
	t.Helper()
	sysctl(t, ns, "ipv4/route/flush", "1")
	sysctl(t, ns, "ipv6/route/flush", "1")
}

// learnMTU sends a datagram that fits the interface but not the path, and checks
// what the socket and the stack learn from that.
func learnMTU(t *testing.T, v ipVersion, c *net.UDPConn, mtu int, from netip.Addr) {
	t.Helper()
	setOption(t, c, v.level, v.discover, unix.IP_PMTUDISC_DO) // the same number for IPv6
	setOption(t, c, v.level, v.recvErr, 1)
	if got := getOption(t, c, v.level, v.mtu); got != 1500 {
		t.Fatalf("path MTU %d before", got)
	}
	big := make([]byte, 1500-v.header-8)
	if _, err := c.Write(big); err != nil {
		t.Fatal(err)
	}
	want := icmpReport{Errno: unix.EMSGSIZE, Type: packet.UnreachableV4, Code: 4, Info: uint32(mtu), From: from}
	if v.vip.Is6() {
		want.Type, want.Code = packet.TooBigV6, 0
	}
	if diff := cmp.Diff(want, nextReport(t, c), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("error: (-want +got)\n%s", diff)
	}
	if got := getOption(t, c, v.level, v.mtu); got != mtu {
		t.Errorf("path MTU %d, want %d", got, mtu)
	}
	if _, err := c.Write(big); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("a datagram longer than the path MTU: %v", err)
	}
	// The refused one has its entry in the queue as well.
	if got := nextReport(t, c); got.Errno != unix.EMSGSIZE || got.Info != uint32(mtu) {
		t.Errorf("local error: %+v", got)
	}
}

// expectEcho has a datagram come back.
func expectEcho(t *testing.T, c *net.UDPConn, size int) {
	t.Helper()
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(i * 7 >> 3)
	}
	if _, err := c.Write(text); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<16)
	n, err := c.Read(buffer)
	if err != nil || string(buffer[:n]) != string(text) {
		t.Fatalf("%d bytes came back (%v), want %d", n, err, size)
	}
}

// TestMSSClamp checks on the wires that both sides are told what fits, so that no
// segment is ever too big.
func TestMSSClamp(t *testing.T) {
	eachMTU(t, func(t *testing.T, v ipVersion, mtu int) {
		for name, setup := range map[string]func(*stacks, *testing.T, int){
			"leg": (*stacks).setLegLinks, "external": (*stacks).setExternalMTU,
		} {
			t.Run(name, func(t *testing.T) {
				s := newStacks(t, 1)
				setup(s, t, mtu)
				s.setRules(t, func(r *Rules) { r.MSSClamp = true })
				serveStreams(t, s.targets[0], addrPort(v.vip, 80))
				client, target := openWire(t, s.client, "ext"), openWire(t, s.targets[0], "nsm-1")
				manyStreams(t, s.client, addrPort(v.vip, 80), 20)
				checkMSS(t, "SYN", target, packet.SYN, mtu-v.header-20)
				checkMSS(t, "SYN ACK", client, packet.SYN|packet.ACK, mtu-v.header-20)
				s.lossless(t)
			})
		}
	})
}

// checkMSS checks the option of the next SYN that came in.
func checkMSS(t *testing.T, what string, w *wire, flags uint8, want int) {
	t.Helper()
	p, frame := w.receive(t, func(p packet.Packet) bool { return p.Proto == packet.TCP })
	tcp := frame[p.L4:]
	if tcp[13] != flags || tcp[20] != 2 || tcp[21] != 4 { // Linux puts the option first
		t.Fatalf("%s: flags %#x, options % x", what, tcp[13], tcp[20:])
	}
	if got := int(binary.BigEndian.Uint16(tcp[22:])); got != want {
		t.Errorf("%s: MSS %d, want %d", what, got, want)
	}
}
