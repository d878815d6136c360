// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"net"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

// second is the leg of another network with the same VIPs, on an interface of
// its own.
func (n *node) second() Leg {
	l := n.leg(1)
	l.Client.Interface = "nsm-2"
	l.Client.MAC = net.HardwareAddr{2, 0, 0, 0, 1, 2}
	for i := range l.Endpoint.Neighbours {
		l.Endpoint.Neighbours[i].MAC = l.Client.MAC
	}
	return l
}

// Two networks of one workload use the same VIPs: every request is answered
// through the network that it came by.
func TestSharedVIP(t *testing.T) {
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	alone := n.state(t)
	n.connect(t, n.second(), n.second())
	const port = 5000
	var server *traffic.Server
	if err := netns.Do(n.workload, func() (err error) { server, err = traffic.Serve("w", port); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)

	dialers := make([]traffic.Dialer, len(n.endpoints))
	for i, ns := range n.endpoints {
		dialers[i] = traffic.DialIn(func(fn func() error) error { return netns.Do(ns, fn) })
	}
	for _, network := range []string{"tcp", "udp"} {
		for i, dial := range dialers {
			for _, vip := range []netip.Prefix{vip4, vip6} {
				x, err := traffic.Ask(dial, network, netip.AddrPortFrom(vip.Addr(), port), limit)
				if err != nil || x.Reply.Server != "w" || x.Reply.Peer != x.Local {
					t.Errorf("%s to %s through network %d: %+v, %v", network, vip, i, x, err)
				}
			}
		}
	}
	n.disconnect(t, "leg-1")
	if got := n.state(t); len(got) != len(alone) {
		t.Errorf("after the second network has gone:\n%v\nwant\n%v", got, alone)
	}
	if _, err := traffic.Ask(dialers[0], "udp", netip.AddrPortFrom(vip4.Addr(), port), limit); err != nil {
		t.Error(err)
	}
}
