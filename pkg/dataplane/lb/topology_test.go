// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// topology is client -- load balancer -- targets, a namespace each. The client
// is also the gateway of the replies.
type topology struct {
	client, ns string
	targets    []string
	legs       []nl.Link // in ns
	lb         *LB
}

// VIPs: two are routed to the load balancer, two are on the client's link.
var (
	routed4, routed6 = netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")
	onLink4, onLink6 = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("fd00::64")
	vips             = []netip.Addr{routed4, routed6, onLink4, onLink6}

	client4, client6 = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("fd00::2")
	lb4, lb6         = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")
	gate4, gate6     = netip.MustParseAddr("169.254.87.1"), netip.MustParseAddr("fe80::57:4546:5401")
)

func legMAC(i int) packet.MAC    { return packet.MAC{2, 0, 0, 1, 0, byte(i)} }
func targetMAC(i int) packet.MAC { return packet.MAC{2, 0, 0, 2, 0, byte(i)} }

// newTopology connects n targets. Target i has id i+1.
func newTopology(t *testing.T, n int, vlan uint16) *topology {
	return newTopologyOf(t, n, Config{VLAN: vlan})
}

// newTopologyOf is newTopology with a load balancer of a certain kind.
func newTopologyOf(t *testing.T, n int, cfg Config) *topology {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	top := &topology{client: testutil.NetNS(t), ns: testutil.NetNS(t)}
	h, c := testutil.Handle(t, top.ns), testutil.Handle(t, top.client)
	ext, far, err := h.AddVeth(nl.Veth{
		Name: "ext", MAC: extMAC[:], PeerName: "ext", PeerMAC: routerMAC[:], PeerNetNS: top.client, PeerUp: true,
	})
	check(t, err)
	check(t, h.SetUp(ext.Index))
	for _, a := range []netip.Addr{lb4, lb6} {
		check(t, h.AddAddress(ext.Index, netip.PrefixFrom(a, a.BitLen()-8)))
	}
	for _, a := range []netip.Addr{client4, client6} {
		check(t, c.AddAddress(far.Index, netip.PrefixFrom(a, a.BitLen()-8)))
	}
	check(t, c.AddRoute(nl.Route{Index: far.Index, Prefix: netip.PrefixFrom(routed4, 32), Gateway: lb4}))
	check(t, c.AddRoute(nl.Route{Index: far.Index, Prefix: netip.PrefixFrom(routed6, 128), Gateway: lb6}))
	cfg.NetNS = top.ns
	top.lb = newLB(t, cfg)
	for i := range n {
		top.addTarget(t, h, i)
	}
	if cfg.VLAN != 0 {
		top.tagClient(t, far.Index)
	}
	return top
}

func (top *topology) addTarget(t *testing.T, h *nl.Handle, i int) {
	ns := testutil.NetNS(t)
	top.targets = append(top.targets, ns)
	leg, mac := legMAC(i), targetMAC(i)
	link, in, err := h.AddVeth(nl.Veth{
		Name: fmt.Sprintf("leg%d", i), MAC: leg[:], PeerName: "nsm-1", PeerMAC: mac[:], PeerNetNS: ns, PeerUp: true,
	})
	check(t, err)
	check(t, h.SetUp(link.Index))
	top.legs = append(top.legs, link)
	w := testutil.Handle(t, ns)
	for _, a := range vips {
		check(t, w.AddAddress(in.Index, netip.PrefixFrom(a, a.BitLen())))
	}
	for _, gate := range []netip.Addr{gate4, gate6} {
		check(t, w.AddNeighbour(in.Index, gate, leg[:]))
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gate.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		check(t, w.AddRoute(nl.Route{Index: in.Index, Prefix: all, Gateway: gate, OnLink: true}))
	}
	_, err = top.lb.AttachLeg(link.Index)
	check(t, err)
	check(t, top.lb.SetTarget(uint16(i+1), Target{IfIndex: link.Index, MAC: mac[:], LegMAC: leg[:]}))
}

// tagClient makes the client a member of the VLAN, without a VLAN device, which
// not every kernel has: the load balancer's egress program tags, a small one
// takes the tags off.
func (top *topology) tagClient(t *testing.T, ifindex int) {
	pop, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.FnSkbVlanPop.Call(), asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	check(t, err)
	t.Cleanup(func() { _ = pop.Close() })
	check(t, netns.Do(top.client, func() error {
		for at, prog := range map[ebpf.AttachType]*ebpf.Program{
			ebpf.AttachTCXIngress: pop,
			ebpf.AttachTCXEgress:  top.lb.objs.LbEgress,
		} {
			l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: prog, Attach: at})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
		}
		return nil
	}))
}

// balance sends everything to stream 0 and spreads that over the targets.
func (top *topology) balance(t *testing.T) {
	rule := classify.Rule{Name: "all"}
	for _, a := range vips {
		rule.VIPs = append(rule.VIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	check(t, top.lb.SetGateways(clientGateways))
	check(t, top.lb.SetRules(Rules{
		VIPs: rule.VIPs, Flows: []classify.Rule{rule},
	}))
	check(t, top.lb.SetTable(0, top.table(0)))
}

// table spreads 997 slots over the targets, beginning with the given one.
func (top *topology) table(first int) []uint16 {
	table := make([]uint16, 997)
	for i := range table {
		table[i] = uint16(1 + (first+i)%len(top.targets))
	}
	return table
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clientGateways has the client be its own gateway.
var clientGateways = Gateways{Default4: []netip.Addr{client4}, Default6: []netip.Addr{client6}}
