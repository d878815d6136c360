// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/weft-project/weft/internal/packet"
)

// fixtureLinks are the ways in which frames come to an interface with and without
// a VLAN.
var fixtureLinks = map[uint16]map[string]packet.Ethernet{
	0: {
		"untagged":      toUs,
		"priority":      tagged(toUs, packet.Tag{TCI: 5 << 13}),
		"priority QinQ": tagged(toUs, packet.Tag{Proto: packet.EtherQinQ}, packet.Tag{TCI: 1 << 13}),
	},
	100: {
		"tagged":            tagged(toUs, packet.Tag{TCI: 100}),
		"QinQ":              tagged(toUs, packet.Tag{Proto: packet.EtherQinQ, TCI: 3<<13 | 100}),
		"priority, tagged":  tagged(toUs, packet.Tag{Proto: packet.EtherQinQ, TCI: 5 << 13}, packet.Tag{TCI: 100}),
		"tagged, tagged":    tagged(toUs, packet.Tag{TCI: 100}, packet.Tag{TCI: 100}),
		"tagged, with zero": tagged(toUs, packet.Tag{TCI: 100}, packet.Tag{}),
	},
}

// TestFixtures holds the programs against tables of packets, every way to tag
// them.
func TestFixtures(t *testing.T) {
	seen := make(map[Reason]bool)
	for vlan, links := range fixtureLinks {
		t.Run("vlan="+strconv.Itoa(int(vlan)), func(t *testing.T) {
			w := newFixtureWorld(t, Config{VLAN: vlan})
			w.seen = seen
			for name, eth := range links {
				t.Run(name, func(t *testing.T) { runFixtures(t, w, allFixtures(eth)) })
			}
			passed := passFixtures()
			if vlan != 0 {
				passed = passTaggedFixtures(vlan)
			}
			runFixtures(t, w, passed)
		})
	}
	for r := Forwarded; r < DropInternal; r++ {
		// The others are in tests of their own.
		if !seen[r] && r != DropFragment && r != DropNoGateway && r != DropNoRoute {
			t.Errorf("no fixture for %s", r)
		}
	}
}

// allFixtures are the tables, each for frames that come with these tags.
func allFixtures(eth packet.Ethernet) (list []fixture) {
	for _, table := range []func(packet.Ethernet) []fixture{
		forwardFixtures, extensionFixtures, rangeFixtures, byteMatchFixtures, dropFixtures, neighbourFixtures,
		echoFixtures, errorFixtures, fragmentFixtures, fateFixtures, mtuFixtures, natFixtures, clampFixtures,
	} {
		list = append(list, table(eth)...)
	}
	// Legs have no VLAN.
	for _, tag := range eth.Tags {
		if tag.TCI&0xfff != 0 {
			return list
		}
	}
	return append(list, replyFixtures(eth)...)
}

func runFixtures(t *testing.T, w *fixtureWorld, list []fixture) {
	t.Helper()
	for _, f := range list {
		t.Run(f.name, func(t *testing.T) { f.run(t, w) })
	}
}

func passFixtures() (list []fixture) {
	group := packet.Ethernet{Dst: packet.MAC{1, 0, 0x5e, 0, 0, 1}, Src: routerMAC}
	other := packet.Ethernet{Dst: packet.MAC{2, 3, 3, 3, 3, 3}, Src: routerMAC}
	mapped := packet.IP{Src: fixSrc6, Dst: netip.MustParseAddr("::ffff:20.0.0.1")}
	for _, f := range fixFamilies {
		away := packet.IP{Src: f.in.Src, Dst: f.in.Src}
		for name, c := range map[string]struct {
			frame []byte
			want  Reason
		}{
			"no VIP":                 {request(toUs, away, packet.TCP, 179), PassNotVIP},
			"no VIP, protocol":       {away.Packet(toUs, 89, make([]byte, 20)), PassNotVIP},
			"other VLAN":             {request(tagged(toUs, packet.Tag{TCI: 7}), f.in, packet.TCP, webPort), PassVLAN},
			"other inner VLAN":       {request(tagged(toUs, packet.Tag{}, packet.Tag{TCI: 7}), f.in, packet.TCP, webPort), PassVLAN},
			"three tags":             {request(tagged(toUs, packet.Tag{}, packet.Tag{}, packet.Tag{}), f.in, packet.TCP, webPort), PassVLAN},
			"multicast frame":        {request(group, f.in, packet.TCP, webPort), PassNotHost},
			"broadcast frame":        {request(packet.Ethernet{Dst: broadcast}, f.in, packet.TCP, webPort), PassNotHost},
			"frame for another host": {request(other, f.in, packet.TCP, webPort), PassNotHost},
		} {
			list = append(list, fixture{name: name + f.name, frame: c.frame, want: because(c.want)})
		}
	}
	return append(list,
		fixture{name: "VIP4 mapped to IPv6", frame: request(toUs, mapped, packet.TCP, webPort), want: because(PassNotVIP)},
		fixture{name: "no VIP, malformed", frame: patch(request(toUs, packet.IP{Src: fixSrc4, Dst: fixSrc4}, packet.TCP, 179), 16, 9), want: because(PassNotVIP)},
		fixture{name: "lldp", frame: toUs.Frame(0x88cc, make([]byte, 46)), want: because(PassNotIP)},
		// In front of these the kernel does not see that there is no IP header.
		fixture{name: "tag without type", frame: tagged(toUs, packet.Tag{}).Frame(packet.EtherVLAN, []byte{0, 0}), want: because(DropMalformed)},
		fixture{name: "header cut4", frame: tagged(toUs, packet.Tag{}).Frame(packet.EtherIPv4, make([]byte, 19)), want: because(DropMalformed)},
		fixture{name: "header cut6", frame: tagged(toUs, packet.Tag{}).Frame(packet.EtherIPv6, make([]byte, 39)), want: because(DropMalformed)},
	)
}

// passTaggedFixtures are for an interface with a VLAN; the stack gets what is its
// own without the tag, and all else as it is.
func passTaggedFixtures(vlan uint16) (list []fixture) {
	ours := tagged(toUs, packet.Tag{TCI: vlan})
	both := tagged(toUs, packet.Tag{TCI: vlan}, packet.Tag{TCI: 7})
	for _, f := range fixFamilies {
		away := packet.IP{Src: f.in.Src, Dst: f.in.Src}
		list = append(list,
			fixture{name: "no VIP" + f.name, frame: request(ours, away, packet.TCP, 179), want: because(PassNotVIP), out: request(toUs, away, packet.TCP, 179)},
			fixture{name: "untagged" + f.name, frame: request(toUs, f.in, packet.TCP, webPort), want: because(PassVLAN)},
			fixture{name: "only priority" + f.name, frame: request(tagged(toUs, packet.Tag{TCI: 1 << 13}), f.in, packet.TCP, webPort), want: because(PassVLAN)},
			fixture{name: "another" + f.name, frame: request(tagged(toUs, packet.Tag{TCI: 7}), f.in, packet.TCP, webPort), want: because(PassVLAN)},
			fixture{name: "another inside" + f.name, frame: request(both, f.in, packet.TCP, webPort), want: because(PassVLAN)},
		)
	}
	return append(list, fixture{
		name: "lldp", frame: ours.Frame(0x88cc, make([]byte, 46)), want: because(PassNotIP), out: toUs.Frame(0x88cc, make([]byte, 46)),
	})
}
