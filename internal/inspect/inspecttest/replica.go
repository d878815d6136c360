// SPDX-License-Identifier: Apache-2.0

package inspecttest

import (
	"net"
	"net/netip"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Addresses of the replica that New returns.
var (
	VIP4   = netip.MustParseAddr("20.0.0.1")
	VIP6   = netip.MustParseAddr("2000::1")
	Range  = netip.MustParsePrefix("20.0.1.0/28") // a VIP, too, without flows
	MAC    = packet.MAC{2, 0, 0, 0, 0, 1}
	Target = packet.MAC{2, 0, 0, 0, 1, 1}
	Leg    = packet.MAC{2, 0, 0, 0, 2, 1}
)

// TableSize of its streams, a prime number.
const TableSize = 251

// State is a configuration and a state that do not change by themselves.
type State struct {
	Configuration balancer.Config
	Now           balancer.Snapshot
}

// Config implements inspect.State.
func (s *State) Config() *balancer.Config { return &s.Configuration }

// Snapshot implements inspect.State.
func (s *State) Snapshot() balancer.Snapshot { return s.Now }

// NewState returns the state of a replica with four flows: admin, get (which
// looks for "GET "), sctp and web. Streams api and web have the target n1/a, stream
// voice has none. Port 443 of the IPv4 VIP is translated to 8443.
func NewState() *State {
	vips := []netip.Prefix{netip.PrefixFrom(VIP4, 32), netip.PrefixFrom(VIP6, 128)}
	port := func(list ...uint16) (out []classify.PortRange) {
		for _, p := range list {
			out = append(out, classify.PortRange{First: p, Last: p})
		}
		return out
	}
	flow := func(stream string, rule classify.Rule) balancer.Flow {
		rule.VIPs = vips
		return balancer.Flow{Stream: stream, Rule: rule}
	}
	s := &State{Configuration: balancer.Config{
		VIPs:    append([]netip.Prefix{Range}, vips...),
		Streams: []balancer.Stream{{Name: "api"}, {Name: "voice"}, {Name: "web"}},
		NATs:    []classify.NAT{{VIP: vips[0], Protocol: classify.TCP, Port: 443, TargetPort: 8443}},
		Flows: []balancer.Flow{
			flow("web", classify.Rule{
				Name: "web", Priority: 1, Protocols: []uint8{classify.TCP, classify.UDP}, DestinationPorts: port(80, 443),
			}),
			flow("web", classify.Rule{
				Name: "admin", Priority: 100, Sources: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
				Protocols: []uint8{classify.TCP},
			}),
			flow("api", classify.Rule{
				Name: "get", Priority: 50, Protocols: []uint8{classify.TCP}, DestinationPorts: port(80),
				ByteMatches: []classify.ByteMatch{{Protocol: classify.TCP, Offset: 20, Width: 4, Value: 0x47455420}},
			}),
			flow("voice", classify.Rule{
				Name: "sctp", Priority: 1, Protocols: []uint8{classify.SCTP}, SourcePorts: []classify.PortRange{{First: 1024, Last: 65535}},
			}),
		},
	}}
	s.Now = balancer.Snapshot{
		Gateways: lb.Gateways{Default4: []netip.Addr{netip.MustParseAddr("10.0.0.254")}},
		Flows: []balancer.FlowState{
			{Name: "admin", ID: 11, Stream: "web"}, {Name: "get", ID: 12, Stream: "api"},
			{Name: "sctp", ID: 13, Stream: "voice"}, {Name: "web", ID: 10, Stream: "web"},
		},
		Streams: []balancer.StreamState{
			{Name: "api", ID: 0, TableSize: TableSize, Targets: []string{"n1/a"}},
			{Name: "voice", ID: 1, TableSize: TableSize},
			{Name: "web", ID: 2, TableSize: TableSize, Targets: []string{"n1/a"}},
		},
		Targets: []balancer.TargetState{{
			Name: "n1/a", ID: 7, Streams: []string{"api", "web"}, InTable: []string{"api", "web"},
			Legs: []balancer.LegState{
				{Interface: "old-7", MAC: net.HardwareAddr{2, 0, 0, 0, 1, 9}},
				{Interface: "leg-7", MAC: Target[:], LegMAC: Leg[:], Attached: true, Up: true, Active: true},
			},
		}},
	}
	return s
}

// New returns a replica over NewState and a plane.
func New(name string, plane inspect.Plane) inspect.Replica {
	return inspect.Replica{
		Name: name, Trench: "trench-a", Conduit: "lb", NetNS: "/run/netns/" + name, Interface: "ext0", Mode: "tcx",
		MAC: MAC[:], Plane: plane, State: NewState(),
	}
}
