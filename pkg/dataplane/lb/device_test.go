// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// TestDeviceChanges checks that the MAC that the program answers with and the MTU
// that it keeps to are those of the external interface, also after they have
// changed.
func TestDeviceChanges(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := external(t)
	l, err := New(Config{NetNS: ns, Interface: "ext"})
	check(t, err)
	defer func() { check(t, l.Close()) }()
	rules := Rules{VIPs: []netip.Prefix{netip.PrefixFrom(fixVIP4, 32), netip.PrefixFrom(fixVIP6, 128)}}
	check(t, l.SetRules(rules))
	h := testutil.Handle(t, ns)
	request := packet.ARP{Op: packet.ARPRequest, SenderMAC: routerMAC, SenderIP: fixSrc4, TargetIP: fixVIP4}.Frame(packet.Ethernet{Dst: broadcast, Src: routerMAC})
	answers := func(mac packet.MAC) func() bool {
		return func() bool {
			v, out, err := l.Trace(request)
			check(t, err)
			p, err := packet.Parse(out)
			check(t, err)
			return v.Reason == ARPAnswered && p.ARP != nil && p.ARP.SenderMAC == mac
		}
	}
	ip := packet.IP{Src: fixVIP6, Dst: fixSrc6}
	reply := ip.Packet(toTarget, packet.UDP, ip.UDP(80, 4000, make([]byte, 1400)))
	becomes := func(want Reason) func() bool {
		return func() bool {
			v, _, err := l.TraceReply(reply)
			check(t, err)
			return v.Reason == want
		}
	}
	testutil.Eventually(t, 5*time.Second, "the MAC at first", answers(extMAC))
	testutil.Eventually(t, 5*time.Second, "an MTU of 1500 and no gateway", becomes(DropNoGateway))
	check(t, l.SetGateways(Gateways{Default6: []netip.Addr{fixSrc6}}))
	check(t, l.SetRules(rules))
	testutil.Eventually(t, 5*time.Second, "gateways", becomes(ReplyForwarded))
	check(t, h.SetMTU(l.id.ifindex, 1280))
	testutil.Eventually(t, 5*time.Second, "an MTU of 1280", becomes(DropTooBig))
	other := packet.MAC{2, 0, 0, 0, 7, 7}
	check(t, h.SetMAC(l.id.ifindex, net.HardwareAddr(other[:])))
	testutil.Eventually(t, 5*time.Second, "another MAC", answers(other))
	check(t, h.SetMTU(l.id.ifindex, 1500))
	testutil.Eventually(t, 5*time.Second, "an MTU of 1500 again", becomes(ReplyForwarded))
}
