// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// ioLimit bounds one exchange.
const ioLimit = 5 * time.Second

// stacks is a client and a workload, each a Linux stack, with an engine and no
// program between them: the tests take what arrives from the interfaces.
type stacks struct {
	client, ns, workload string
	ext, leg             nl.Link
	world                *world
	engine               *Engine
	extTap, legTap       int
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStacks(t *testing.T) *stacks {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	s := &stacks{client: testutil.NetNS(t), ns: testutil.NetNS(t), workload: testutil.NetNS(t), world: newWorld()}
	var far, in nl.Link
	s.ext, far = s.join(t, "ext", extMAC, s.client, routerMAC)
	s.leg, in = s.join(t, "leg", legMAC, s.workload, targetMAC)
	for _, ip := range []packet.IP{client4, client6} {
		s.route(t, s.client, far, ip.Src, ip.Dst, extMAC)
	}
	s.route(t, s.workload, in, client4.Dst, legGateway4, legMAC)
	s.route(t, s.workload, in, client6.Dst, legGateway6, legMAC)
	socket, err := OpenSocket(s.ns)
	check(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	s.world.hops = map[uint16]NextHop{target: {Interface: s.leg.Index, Dst: targetMAC, Src: legMAC, MTU: 1500}}
	s.world.gate.Interface = s.ext.Index
	s.engine = newEngine(t, s.world, func(c *Config) { c.External, c.Sender = s.ext.Index, socket })
	s.extTap, s.legTap = tap(t, s.ns, s.ext.Index), tap(t, s.ns, s.leg.Index)
	return s
}

func (s *stacks) join(t *testing.T, name string, mac packet.MAC, ns string, peerMAC packet.MAC) (link, peer nl.Link) {
	t.Helper()
	h := testutil.Handle(t, s.ns)
	link, peer, err := h.AddVeth(nl.Veth{
		Name: name, MAC: mac[:], PeerName: "eth0", PeerMAC: peerMAC[:], PeerNetNS: ns, PeerUp: true, NoLinkLocal: true,
	})
	check(t, err)
	check(t, h.SetUp(link.Index))
	return link, peer
}

// route gives a stack its address and everything else a gateway.
func (s *stacks) route(t *testing.T, ns string, link nl.Link, own, gateway netip.Addr, mac packet.MAC) {
	t.Helper()
	h := testutil.Handle(t, ns)
	check(t, h.AddAddress(link.Index, netip.PrefixFrom(own, own.BitLen())))
	check(t, h.AddNeighbour(link.Index, gateway, mac[:]))
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if own.Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	check(t, h.AddRoute(nl.Route{Index: link.Index, Prefix: all, Gateway: gateway, OnLink: true}))
	testutil.Eventually(t, ioLimit, "local route", func() bool {
		ok, err := h.Delivers(own)
		return err == nil && ok
	})
}

// tap opens a socket that sees what an interface receives.
func tap(t *testing.T, ns string, ifindex int) int {
	t.Helper()
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // network order
	fd := -1
	check(t, netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex, Protocol: all}))
	timeout := unix.NsecToTimeval(int64(ioLimit))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return fd
}

// next is the next frame of UDP, or of a fragment, that the interface received.
func next(t *testing.T, fd int) []byte {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(fd, buffer, 0)
		check(t, err)
		p, err := packet.Parse(buffer[:n])
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_HOST && err == nil &&
			(p.Proto == packet.UDP || p.Proto == packet.Fragment) {
			return buffer[:n]
		}
	}
}

// talk opens a socket in the client and one in the workload, both for the family
// of ip and connected with each other.
func (s *stacks) talk(t *testing.T, ip packet.IP) (client, workload *net.UDPConn) {
	t.Helper()
	const port = 5000
	open := func(ns string, from, to netip.Addr) (c *net.UDPConn) {
		check(t, netns.Do(ns, func() (err error) {
			c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, port)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
			return err
		}))
		t.Cleanup(func() { _ = c.Close() })
		check(t, c.SetDeadline(time.Now().Add(ioLimit)))
		return c
	}
	return open(s.client, ip.Src, ip.Dst), open(s.workload, ip.Dst, ip.Src)
}

func setOption(t *testing.T, c *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var optErr error
	check(t, raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, value) }))
	check(t, optErr)
}

func getOption(t *testing.T, c *net.UDPConn, level, option int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var optErr error
	check(t, raw.Control(func(fd uintptr) { value, optErr = unix.GetsockoptInt(int(fd), level, option) }))
	check(t, optErr)
	return value
}
