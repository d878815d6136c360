// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// connections is how many tunnels there are besides the one that is measured.
const connections = 1000

// BenchmarkTunnel compares a leg on this node, a tunnel of the node's one device,
// and a device for each tunnel, between two namespaces as nodes.
func BenchmarkTunnel(b *testing.B) {
	paths := []contender{
		{"local", crossed},
		{"tunnel4", tunnelled("IPv4")}, {"tunnel6", tunnelled("IPv6")}, {"device-each", deviceEach},
	}
	b.Run("TCP", func(b *testing.B) { compareRates(b, "Gbit/s", tcpRate, paths) })
	b.Run("UDP", func(b *testing.B) { compareRates(b, "kpps", udpRate, paths) })
}

// tunnelled is a leg between two nodes that have many.
func tunnelled(family string) func(b *testing.B) path {
	return func(b *testing.B) path {
		b.Helper()
		n := newNodes(b, family, Config{})
		for i := range uint32(connections) {
			must(b,
				n.a.x.SetTunnel(n.towardB(10_000+i), TunnelPort{IfIndex: n.client.outer.Index}),
				n.b.x.SetTunnel(n.towardA(10_000+i), TunnelPort{IfIndex: n.endpoint.outer.Index}))
		}
		return path{n.client.ns, n.endpoint.ns}
	}
}

// deviceEach has a VXLAN device for each tunnel, with the least of a program.
func deviceEach(b *testing.B) path {
	b.Helper()
	nodeA, nodeB, _ := newUnderlay(b, 1500)
	u := underlays["IPv4"]
	p := path{}
	for i, ns := range []string{nodeA, nodeB} {
		h := testutil.Handle(b, ns)
		var device nl.Link
		for vni := range uint32(connections) {
			var err error
			device, err = h.AddVXLAN(nl.VXLAN{
				Name: fmt.Sprintf("v%d", vni), VNI: vni + 1, Port: 4789, MTU: 1450, NoLinkLocal: true,
				Local: u[i].Addr(), Remote: u[1-i].Addr(),
			})
			must(b, err, h.SetUp(device.Index))
		}
		inside := testutil.NetNS(b)
		outer, inner, err := h.AddVeth(nl.Veth{Name: "o", PeerName: "eth0", PeerNetNS: inside, PeerUp: true, MTU: device.MTU})
		must(b, err, h.SetUp(outer.Index), testutil.Handle(b, inside).AddAddress(inner.Index, addresses[i][0]))
		redirect(b, ns, outer.Index, asm.FnRedirect, device.Index)
		redirect(b, ns, device.Index, asm.FnRedirectPeer, outer.Index)
		if i == 0 {
			p.from = inside
		} else {
			p.to = inside
		}
	}
	return p
}

// redirect sends all that comes in on an interface to another one.
func redirect(b *testing.B, ns string, from int, by asm.BuiltinFunc, to int) {
	b.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0), // PACKET_HOST
		asm.FnSkbChangeType.Call(),
		asm.Mov.Imm(asm.R1, int32(to)),
		asm.Mov.Imm(asm.R2, 0),
		by.Call(),
		asm.Return(),
	}})
	must(b, err)
	b.Cleanup(func() { _ = p.Close() })
	must(b, netns.Do(ns, func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: from, Program: p, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			b.Cleanup(func() { _ = l.Close() })
		}
		return err
	}))
}
