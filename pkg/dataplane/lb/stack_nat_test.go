// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Ports of the tests, and what targets know them by.
const (
	natOutside, natInside = 80, 8080
	natClosed, natNobody  = 81, 8081 // nobody listens there
)

// translate turns the translation of ports on.
func (s *stacks) translate(t *testing.T) {
	t.Helper()
	s.setRules(t, func(r *Rules) {
		for _, vip := range r.VIPs {
			for _, proto := range []uint8{packet.TCP, packet.UDP} {
				r.NATs = append(r.NATs,
					classify.NAT{VIP: vip, Protocol: proto, Port: natOutside, TargetPort: natInside},
					classify.NAT{VIP: vip, Protocol: proto, Port: natClosed, TargetPort: natNobody})
			}
		}
	})
}

// TestNAT has stacks talk to another port than they know, in every state of
// checksums: the stacks count wrong ones.
func TestNAT(t *testing.T) {
	eachOffload(t, 2, func(t *testing.T, s *stacks, whole bool) {
		s.translate(t)
		eachVersion(t, func(t *testing.T, v ipVersion) {
			servers := make([]*net.UDPConn, len(s.targets))
			for i, ns := range s.targets {
				serveStreams(t, ns, addrPort(v.vip, natInside))
				servers[i] = echoUDP(t, ns, addrPort(v.vip, natInside))
			}
			t.Run("TCP", func(t *testing.T) {
				manyStreams(t, s.client, addrPort(v.vip, natOutside), 50)
			})
			t.Run("UDP", func(t *testing.T) { natUDP(t, s, v, func(*testing.T, *net.UDPConn) {}) })
			t.Run("UDP without checksum", func(t *testing.T) {
				for _, c := range servers {
					omitChecksum(t, c)
				}
				client, target := openWire(t, s.client, "ext"), openWire(t, s.targets[0], "nsm-1")
				natUDP(t, s, v, omitChecksum)
				for _, w := range []*wire{client, target} {
					p, frame := w.receive(t, func(p packet.Packet) bool { return p.Proto == packet.UDP && p.Fragment.Offset == 0 })
					if sum := binary.BigEndian.Uint16(frame[p.L4+6:]); sum != 0 {
						t.Errorf("a checksum of %#x", sum)
					}
				}
			})
		})
	})
}

// natUDP exchanges datagrams of all sorts, large ones in fragments.
func natUDP(t *testing.T, s *stacks, v ipVersion, setup func(*testing.T, *net.UDPConn)) {
	t.Helper()
	for range 20 {
		c := dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, natOutside))
		setup(t, c)
		for _, size := range []int{0, 1, 700, 1400, 9000} {
			expectEcho(t, c, size)
		}
	}
}

// omitChecksum has a socket send datagrams without one, and take such.
func omitChecksum(t *testing.T, c *net.UDPConn) {
	t.Helper()
	setOption(t, c, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	if c.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
		setOption(t, c, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1)
		setOption(t, c, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1)
	}
}

// TestNATErrors has ICMP errors about packets with translated ports reach the
// sockets that sent them.
func TestNATErrors(t *testing.T) {
	const times = 8 // a stack sends no more than some 50 errors at once
	eachOffload(t, 2, func(t *testing.T, s *stacks, _ bool) {
		for _, ns := range append([]string{s.client}, s.targets...) {
			sysctl(t, ns, "ipv4/icmp_ratelimit", "0")
			sysctl(t, ns, "ipv6/icmp/ratelimit", "0")
		}
		s.translate(t)
		eachVersion(t, func(t *testing.T, v ipVersion) {
			for i := range uint16(times) {
				refusedAnswer(t, s, v, 30000+i)
			}
			for range times {
				c := dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, natClosed))
				_, err := c.Write([]byte("anybody there?"))
				check(t, err)
				expectRefused(t, "client", c)
			}
		})
		counts, err := s.lb.Counters()
		check(t, err)
		if counts[ICMPForwarded] != 2*times {
			t.Errorf("%d errors forwarded, want %d", counts[ICMPForwarded], 2*times)
		}
	})
}

// refusedAnswer has a server learn that the client does not wait for its answer.
func refusedAnswer(t *testing.T, s *stacks, v ipVersion, port uint16) {
	t.Helper()
	client := dialUDP(t, s.client, addrPort(v.client, port), addrPort(v.vip, natOutside))
	servers := make([]*net.UDPConn, len(s.targets))
	for i, ns := range s.targets {
		servers[i] = dialUDP(t, ns, addrPort(v.vip, natInside), addrPort(v.client, port))
		defer func() { _ = servers[i].Close() }()
	}
	_, err := client.Write([]byte("a question"))
	check(t, err)
	server := servers[s.targetOf(v.client, v.vip, packet.UDP, port, natOutside)]
	if _, err := server.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	check(t, client.Close())
	_, err = server.Write([]byte("an answer"))
	check(t, err)
	expectRefused(t, "server", server)
	for i, other := range servers {
		if n := getOption(t, other, unix.SOL_SOCKET, unix.SO_ERROR); n != 0 {
			t.Errorf("server %d learns of %v", i, unix.Errno(n))
		}
	}
}

func expectRefused(t *testing.T, who string, c *net.UDPConn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("%s: %v, want that nobody listens", who, err)
	}
}
