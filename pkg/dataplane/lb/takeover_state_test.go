// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// behind starts a generation beside the one that works.
func (w *lives) behind(t *testing.T, change func(*generation)) *LB {
	t.Helper()
	g := w.next()
	g.Silent = true
	if change != nil {
		change(&g)
	}
	l, err := g.start()
	check(t, err)
	t.Cleanup(func() { check(t, l.Abandon()) })
	if _, works, err := l.Predecessor(); !works || err != nil {
		t.Fatalf("no predecessor: %v", err)
	}
	return l
}

// TestTakeOverFragments: packets whose first fragment the predecessor has sent to
// a target reach it whole.
func TestTakeOverFragments(t *testing.T) {
	eachVersion(t, func(t *testing.T, v ipVersion) {
		w := newLives(t)
		for _, ns := range w.targets {
			echoUDP(t, ns, addrPort(v.vip, 53))
		}
		out := openWire(t, w.client, "ext")
		c := dialUDP(t, w.client, netip.AddrPort{}, addrPort(v.vip, 53))
		expectEcho(t, c, 10)
		second := w.behind(t, nil)
		text := bytes.Repeat([]byte("weft "), 500)
		ip := packet.IP{Src: v.client, Dst: v.vip, ID: 4711}
		port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		frame := ip.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, packet.UDP, ip.UDP(port, 53, text))
		list := packet.Fragments(frame, 1200, 4711)
		out.send(t, list[0])
		check(t, second.TakeOver())
		check(t, w.lb.Abandon())
		for _, fragment := range list[1:] {
			out.send(t, fragment)
		}
		buffer := make([]byte, 1<<16)
		if n, err := c.Read(buffer); err != nil || !bytes.Equal(buffer[:n], text) {
			t.Errorf("%d bytes came back (%v), want %d", n, err, len(text))
		}
		testutil.Eventually(t, stackLimit, "fragments by the slow path", func() bool {
			return second.SlowPath().Forwarded == uint64(len(list)-1)
		})
	})
}

// TestTakeOverAffinity: flows stay with their targets, whose numbers are others.
func TestTakeOverAffinity(t *testing.T) {
	const flows = 10_000
	pins := filepath.Join(pinsOf(t), "lb-1")
	ns := external(t)
	h := testutil.Handle(t, ns)
	ext := testutil.Link(t, ns, "ext")
	lo, err := h.LinkByName("lo")
	check(t, err)
	vip := netip.PrefixFrom(fixVIP4, 32)
	rules := Rules{VIPs: []netip.Prefix{vip}, Flows: []classify.Rule{{Name: "all", VIPs: []netip.Prefix{vip}}}, Affinity: 1 << 16}
	start := func(cfg Config, a, b uint16) *LB {
		cfg.NetNS, cfg.Interface, cfg.PinDir = ns, "ext", pins
		l, err := New(cfg)
		check(t, err)
		t.Cleanup(func() { check(t, l.Abandon()) })
		check(t, l.SetRules(rules))
		for id, leg := range map[uint16]int{a: ext.Index, b: lo.Index} {
			mac := targetMAC(leg)
			check(t, l.SetTarget(id, Target{IfIndex: leg, MAC: mac[:], LegMAC: mac[:]}))
		}
		check(t, l.SetMembers(0, []uint16{a, b}))
		check(t, l.SetTable(0, []uint16{b}))
		return l
	}
	first := start(Config{}, 1, 2)
	for i := range uint32(flows) { // as the program does for the first target
		key := bpfLbFlowKey{Src: addrWords(fixSrc4), Dst: addrWords(fixVIP4), Ports: i | 80<<16}
		check(t, first.objs.LbPins.Put(key, bpfLbPin{Target: 1}))
	}
	check(t, first.Abandon())
	second := start(Config{MaxTargets: 2000}, 1500, 7)
	check(t, second.TakeOver())
	found := map[bpfLbPin]int{}
	var key bpfLbFlowKey
	var to bpfLbPin
	for entries := second.objs.LbPins.Iterate(); entries.Next(&key, &to); {
		found[to]++
	}
	if len(found) != 1 || found[bpfLbPin{Target: 1500}] != flows {
		t.Errorf("flows are with %v, want all %d with target 1500", found, flows)
	}
	check(t, second.Close())
	nothingLeft(t, ns, pins)
}

// TestTakeOverModes: from each mode to each other one, tagged and not.
func TestTakeOverModes(t *testing.T) {
	for _, vlan := range []uint16{0, 100} {
		t.Run(fmt.Sprintf("vlan=%d", vlan), func(t *testing.T) {
			pins := filepath.Join(pinsOf(t), "lb-1")
			top := newTopologyOf(t, 2, Config{VLAN: vlan, PinDir: pins})
			top.framed(t)
			top.balance(t)
			for i, ns := range top.targets {
				nameServer(t, ns, fmt.Sprintf("target-%d", i))
			}
			w := &lives{loadWorld: &loadWorld{stacks: &stacks{topology: top}}, pins: pins}
			last := top.lb
			for i, mode := range []Mode{ModeXDP, ModeXDP, ModeTCX, ModeTCX, ModeXDP} {
				next := w.behind(t, func(g *generation) { g.Config.VLAN, g.Config.Mode = vlan, mode })
				check(t, next.TakeOver())
				check(t, next.TakeOver()) // nothing more to do
				if _, works, _ := next.Predecessor(); works {
					t.Error("the predecessor still works")
				}
				if i%2 == 0 {
					check(t, last.Abandon())
				}
				if m := next.Mode(); m != mode {
					t.Errorf("mode %s, want %s", m, mode)
				}
				for _, vip := range vips {
					for _, network := range []string{"tcp", "udp"} {
						testSpread(t, top, network, vip)
					}
				}
				last = next
			}
			check(t, last.Close())
			nothingLeft(t, top.ns, pins)
		})
	}
}

// TestLinkThatTakesNoProgram: a new link takes the place of a pinned one that
// cannot be updated.
func TestLinkThatTakesNoProgram(t *testing.T) {
	w := newLives(t)
	for _, ns := range w.targets {
		testutil.Echo(t, ns, "[::]:7")
	}
	next := w.behind(t, nil)
	strange, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	check(t, err)
	defer func() { check(t, strange.Close()) }()
	check(t, netns.Do(w.ns, func() error {
		check(t, next.inherited["ingress"].Close())
		check(t, detach(w.pins, "ingress"))
		next.inherited["ingress"], err = link.AttachXDP(link.XDPOptions{Interface: next.id.ifindex, Program: strange})
		check(t, err)
		return pin(next.inherited["ingress"], w.pins, "ingress")
	}))
	check(t, next.TakeOver())
	check(t, next.Abandon())
	check(t, w.lb.Abandon())
	w.connect(t).exchange(t)
	if n := programs(t, w.ns); n != 1 {
		t.Errorf("%d programs on the external interface", n)
	}
	w.next().run(t).stop(t)
	w.connect(t).exchange(t)
}
