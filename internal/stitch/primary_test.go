// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// primary is the workload's first network, with the default route.
type primary struct {
	address, echo string
	received      atomic.Int64 // UDP packets to port 9
}

func newPrimary(t *testing.T, n *node) *primary {
	t.Helper()
	p := &primary{address: "192.0.2.1"}
	outside := testutil.NetNS(t)
	h, peer := testutil.Handle(t, n.workload), testutil.Handle(t, outside)
	a, z, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: outside, PeerUp: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		h.SetUp(a.Index), h.AddAddress(a.Index, prefix("192.0.2.2/24")), peer.AddAddress(z.Index, prefix("192.0.2.1/24")),
		h.AddRoute(nl.Route{Index: a.Index, Prefix: default4, Gateway: netip.MustParseAddr(p.address)}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.echo = testutil.Echo(t, outside, net.JoinHostPort(p.address, "0"))
	c := testutil.ListenPacket(t, outside, "udp", net.JoinHostPort(p.address, "9"))
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, 64)
		for {
			if _, _, err := c.ReadFrom(buffer); err != nil {
				return
			}
			p.received.Add(1)
		}
	}()
	return p
}
