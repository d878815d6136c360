// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/packet"
)

// TestLargeDatagrams has stacks cut and put together both ways, through the load
// balancer: each fragment has to reach the target of the first one.
func TestLargeDatagrams(t *testing.T) {
	const count, sockets = 500, 10
	s := newStacks(t, 3)
	for _, v := range ipVersions {
		for _, ns := range s.targets {
			echoUDP(t, ns, addrPort(v.vip, 53))
		}
	}
	eachVersion(t, func(t *testing.T, v ipVersion) {
		// The longer ones one after the other: the stacks hold only so many.
		for size, at := range map[int]int{8_000: sockets, 60_000: 1} {
			failed := make(chan error, at)
			for i := range at {
				conns := make([]*net.UDPConn, sockets/at)
				for j := range conns {
					conns[j] = dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, 53))
				}
				go func() {
					r := rand.New(rand.NewPCG(uint64(i), uint64(size)))
					failed <- echoTimes(conns, count/2/at, func() []byte { return randomBytes(r, size-r.IntN(8)) })
				}()
			}
			for range at {
				if err := <-failed; err != nil {
					t.Errorf("%d bytes: %v", size, err)
				}
			}
		}
	})
	for i, n := range s.traffic(t) {
		if n.Packets == 0 {
			t.Errorf("target %d got nothing", i)
		}
	}
	s.lossless(t)
}

// echoTimes has datagrams come back, one after the other, by the connections in
// turn.
func echoTimes(conns []*net.UDPConn, times int, next func() []byte) error {
	buffer := make([]byte, 1<<16)
	for i := range times {
		c, text := conns[i%len(conns)], next()
		if _, err := c.Write(text); err != nil {
			return fmt.Errorf("datagram %d: %w", i, err)
		}
		n, err := c.Read(buffer)
		if err != nil {
			return fmt.Errorf("datagram %d: %w", i, err)
		}
		if !bytes.Equal(buffer[:n], text) {
			return fmt.Errorf("datagram %d: %d other bytes came back, want %d", i, n, len(text))
		}
	}
	return nil
}

// TestFragmentsOutOfOrder sends fragments in other orders than stacks do; the
// target's puts them together and answers.
func TestFragmentsOutOfOrder(t *testing.T) {
	s := newStacks(t, 3)
	r := rand.New(rand.NewPCG(seed(t), 0))
	orders := map[string]func(list [][]byte){
		"last first": slices.Reverse[[][]byte],
		"first last": func(list [][]byte) { copy(list, append(slices.Clone(list[1:]), list[0])) },
		"any":        func(list [][]byte) { r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] }) },
	}
	eachVersion(t, func(t *testing.T, v ipVersion) {
		for _, ns := range s.targets {
			echoUDP(t, ns, addrPort(v.vip, 53))
		}
		out := openWire(t, s.client, "ext")
		conns := make([]*net.UDPConn, 8)
		for i := range conns {
			conns[i] = dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, 53))
			expectEcho(t, conns[i], 10) // neighbours know each other
		}
		id := r.Uint32()
		for name, order := range orders {
			for i := range 50 {
				id++
				c, text := conns[i%len(conns)], randomBytes(r, 2000+r.IntN(6000))
				ip := packet.IP{Src: v.client, Dst: v.vip, ID: uint16(id)}
				port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
				frame := ip.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, packet.UDP, ip.UDP(port, 53, text))
				list := packet.Fragments(frame, 8*(20+r.IntN(150)), id)
				order(list)
				for _, fragment := range list {
					out.send(t, fragment)
				}
				buffer := make([]byte, 1<<16)
				if n, err := c.Read(buffer); err != nil || !bytes.Equal(buffer[:n], text) {
					t.Fatalf("%s, %d fragments, the %dth: %d bytes came back (%v), want %d", name, len(list), i, n, err, len(text))
				}
			}
		}
	})
	if slow := s.lb.SlowPath(); slow.Released == 0 {
		t.Errorf("no fragment had to wait: %+v", slow)
	}
	s.lossless(t)
}

// TestCutOnTheWay sends datagrams that routers may cut over links that are too
// small for them, both ways, whole ones and fragments.
func TestCutOnTheWay(t *testing.T) {
	v := ipVersions[0] // nobody cuts IPv6 on the way
	for name, setup := range map[string]func(*stacks, *testing.T, int){
		"leg": (*stacks).setLegMTU, "external": (*stacks).setExternalMTU,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStacks(t, 2)
			for _, ns := range s.targets {
				c := echoUDP(t, ns, addrPort(v.vip, 53))
				setOption(t, c, v.level, v.discover, unix.IP_PMTUDISC_DONT)
			}
			conns := make([]*net.UDPConn, 10)
			for i := range conns {
				conns[i] = dialUDP(t, s.client, netip.AddrPort{}, addrPort(v.vip, 53))
				setOption(t, conns[i], v.level, v.discover, unix.IP_PMTUDISC_DONT)
			}
			setup(s, t, 1300)
			r := rand.New(rand.NewPCG(seed(t), 0))
			sizes := []int{1472, 1350, 5000}
			check(t, echoTimes(conns, 90, func() []byte { return randomBytes(r, sizes[r.IntN(len(sizes))]) }))
			if slow := s.lb.SlowPath(); slow.Cut < 90 || slow.Pieces < 2*slow.Cut {
				t.Errorf("%+v", slow)
			}
			s.lossless(t)
		})
	}
}
