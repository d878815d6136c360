// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// FuzzMessages reads bytes as those of a gateway, as a connection does, and takes
// in what could be read.
func FuzzMessages(f *testing.F) {
	t := target{Peer: Peer{Name: "g", Address: netip.MustParseAddr("192.0.2.2"), LocalASN: 64512, RemoteASN: 65001, ExtendedNextHop: true}.withDefaults(),
		routerID: netip.MustParseAddr("10.0.0.1")}
	open, err := t.openMessage(t.restart.until)
	if err != nil {
		f.Fatal(err)
	}
	nlri, _ := bgp.NewIPAddrPrefix(netip.MustParsePrefix("2001:db8::/32"))
	reach, err := t.reach([]bgp.PathNLRI{{NLRI: nlri}}, true, hops{global: netip.MustParseAddr("fe80::1")}, true)
	if err != nil {
		f.Fatal(err)
	}
	for _, message := range []*bgp.BGPMessage{open, reach, bgp.NewBGPKeepAliveMessage(), cease(2), bgp.NewEndOfRib(bgp.RF_IPv6_UC)} {
		data, err := message.Serialize()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(tt *testing.T, data []byte, two bool) {
		reader := bytes.NewReader(data)
		store := newRIB()
		for {
			body, header, err := readMessage(reader)
			if err != nil {
				return
			}
			message, _, err := parse(header, body, &bgp.MarshallingOption{Use2ByteAS: two})
			if err != nil {
				return
			}
			switch m := message.Body.(type) {
			case *bgp.BGPOpen:
				t.refuse(m.Version, readOpen(m))
			case *bgp.BGPNotification:
				_ = t.explain(m)
			case *bgp.BGPUpdate:
				changes, why := t.read(m)
				for _, c := range changes {
					for _, nlri := range c.reached {
						if prefix, ok := prefixOf(nlri); ok {
							store.put(prefix, t.learn(prefix, c, why, t.Address), 3)
						}
					}
				}
				if store.settle(3); store.taken > 3 {
					tt.Fatalf("%d prefixes are taken", store.taken)
				}
			}
		}
	})
}
