// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net"
	"net/netip"
	"testing"

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

func TestForward(t *testing.T) {
	l := newLB(t, Config{})
	vip := netip.MustParsePrefix("20.0.0.1/32")
	err := l.SetRules(Rules{
		VIPs:  []netip.Prefix{vip},
		Flows: []classify.Rule{{Name: "a", VIPs: []netip.Prefix{vip}, Stream: 3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetTable(3, []uint16{7}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetTarget(7, Target{IfIndex: 1, MAC: net.HardwareAddr{2, 7, 7, 7, 7, 7}, LegMAC: net.HardwareAddr{2, 8, 8, 8, 8, 8}}); err != nil {
		t.Fatal(err)
	}
	ip := packet.IP{Src: netip.MustParseAddr("10.0.0.1"), Dst: vip.Addr()}
	v, out, err := l.TestRun(ip.Packet(packet.Ethernet{Dst: extMAC, Src: routerMAC}, packet.TCP, ip.TCP(1000, 80, 2, nil)))
	t.Log(v, err)
	t.Logf("% x", out)
	if v.Reason != Forwarded {
		t.Fatal(v.Reason)
	}
}
