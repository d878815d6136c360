// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

var (
	extMAC    = packet.MAC{2, 0, 0, 0, 0, 1}
	routerMAC = packet.MAC{2, 0, 0, 0, 0, 2}
)

// external makes a namespace with an external interface "ext" that has no
// carrier: only test runs pass through its program.
func external(t testing.TB) (ns string) {
	testutil.Require(t, "bpf", "netns")
	ns = testutil.NetNS(t)
	h := testutil.Handle(t, ns)
	_, _, err := h.AddVeth(nl.Veth{
		Name: "ext", MAC: net.HardwareAddr(extMAC[:]), PeerName: "far", PeerNetNS: testutil.NetNS(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func newLB(t testing.TB, cfg Config) *LB {
	if cfg.NetNS == "" {
		cfg.NetNS = external(t)
	}
	cfg.Interface = "ext"
	l, err := New(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestConfigErrors(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no external interface":          {},
		"MaxStreams 65537: not in":       {Interface: "ext", MaxStreams: 65537},
		"MaxTargets 1: not in":           {Interface: "ext", MaxTargets: 1},
		"MaxFlows -1: not in":            {Interface: "ext", MaxFlows: -1},
		"MaxFlows 1048577: not in":       {Interface: "ext", MaxFlows: 1<<20 + 1},
		"MaxTableSize 16777217: more":    {Interface: "ext", MaxTableSize: 1<<24 + 1},
		"VLAN 4095: not in 0 to 4094":    {Interface: "ext", VLAN: 4095},
		"find interface nothing-there: ": {Interface: "nothing-there"},
	} {
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestRefusals gives every method what it must refuse, and checks that what was
// there before still works.
func TestRefusals(t *testing.T) {
	l := newLB(t, Config{MaxStreams: 6, MaxTargets: 4, MaxTableSize: 7})
	fixtureRules(t, l)
	mac, leg := targetMAC(1), legMAC(1)
	vip := netip.PrefixFrom(fixVIP4, 32)
	for want, err := range map[string]error{
		"stream 6: at most 6 streams":             l.SetTable(6, []uint16{1}),
		"0 slots: not in 1 to 7":                  l.SetTable(1, nil),
		"8 slots: not in 1 to 7":                  l.SetTable(1, make([]uint16, 8)),
		"slot 1: target 4: at most 3 targets":     l.SetTable(1, []uint16{1, 4}),
		"stream 7: at most 6 streams":             l.ClearTable(7),
		"target 0: not in 1 to 3":                 l.SetTarget(0, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}),
		"target 4: not in 1 to 3":                 l.DeleteTarget(4),
		"target 1: interface 0, ":                 l.SetTarget(1, Target{MAC: mac[:], LegMAC: leg[:]}),
		`target 1: interface 1, MAC "02:00", `:    l.SetTarget(1, Target{IfIndex: 1, MAC: mac[:2], LegMAC: leg[:]}),
		`rule "far": stream 6: at most 6 streams`: l.SetRules(Rules{Flows: []classify.Rule{{Name: "far", Stream: 6, VIPs: []netip.Prefix{vip}}}}),
		`compile rules: rule "none": no VIP`:      l.SetRules(Rules{Flows: []classify.Rule{{Name: "none"}}}),
		"attach lb_reply to leg 4711: ":           closed(l.AttachLeg(4711)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if v, _, err := l.testIn(flow4(toUs, packet.TCP, 64, nil)); err != nil || v != chosen(Forwarded, webPort) {
		t.Errorf("got %v, %v after refused changes", v, err)
	}
}

func closed(_ io.Closer, err error) error { return err }

// TestLife checks that nothing remains of a load balancer, that its interface
// and legs may vanish before it, and that a closed one says so.
func TestLife(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := external(t)
	h := testutil.Handle(t, ns)
	l, err := New(Config{NetNS: ns, Interface: "ext"})
	check(t, err)
	link, _, err := h.AddVeth(nl.Veth{Name: "leg", PeerName: "peer"})
	check(t, err)
	leg, err := l.AttachLeg(link.Index)
	check(t, err)
	check(t, l.SetTable(1, []uint16{1, 2}))
	check(t, h.DeleteLink(link.Index))
	check(t, l.SetRules(Rules{
		VIPs:  []netip.Prefix{netip.PrefixFrom(fixVIP4, 32)},
		Flows: manyRules(5000, netip.PrefixFrom(fixVIP4, 32)), // replaces the programs
	}))
	check(t, leg.Close())
	check(t, leg.Close())
	check(t, l.Close())
	check(t, l.Close())
	for what, err := range map[string]error{
		"rules": l.SetRules(Rules{}), "table": l.SetTable(1, []uint16{1}), "clear": l.ClearTable(1),
		"delete": l.DeleteTarget(1), "leg": closed(l.AttachLeg(1)),
	} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s: got %v, want %v", what, err, errClosed)
		}
	}
}

// TestReasons checks that each reason has a name of its own.
func TestReasons(t *testing.T) {
	seen := make(map[string]Reason)
	for r := Forwarded; r < reasons; r++ {
		if r.String() == fmt.Sprintf("reason_%d", uint32(r)) {
			t.Errorf("reason %d has no name", uint32(r))
		}
		if other, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d are both %s", other, r, r)
		}
		seen[r.String()] = r
	}
	if got := reasons.String(); got != fmt.Sprintf("reason_%d", uint32(DropInternal)+1) {
		t.Errorf("got %s", got)
	}
}

// TestTargetTrafficStartsAnew checks that a reused id does not inherit traffic.
func TestTargetTrafficStartsAnew(t *testing.T) {
	l := newLB(t, Config{})
	fixtureRules(t, l)
	mac, leg := targetMAC(1), legMAC(1)
	for _, want := range []uint64{1, 2} {
		if _, _, err := l.testIn(flow4(toUs, packet.TCP, 64, nil)); err != nil {
			t.Fatal(err)
		}
		check(t, l.SetTarget(1, Target{IfIndex: 2, MAC: mac[:], LegMAC: leg[:]})) // a change, not a new target
		if n, err := l.TargetTraffic(1); err != nil || n.Packets != want {
			t.Errorf("got %+v, %v, want %d packets", n, err, want)
		}
	}
	check(t, l.DeleteTarget(1))
	check(t, l.SetTarget(1, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
	if n, err := l.TargetTraffic(1); err != nil || n != (Traffic{}) {
		t.Errorf("got %+v, %v", n, err)
	}
}

// testIn and testReply are Trace and TraceReply of packets that count.
func (l *LB) testIn(frame []byte) (Verdict, []byte, error) {
	return l.testRun(frame, 0, func(o *objects) *ebpf.Program { return o.Lb })
}

func (l *LB) testReply(frame []byte) (Verdict, []byte, error) {
	return l.testRun(frame, 0, func(o *objects) *ebpf.Program { return o.LbReply })
}
