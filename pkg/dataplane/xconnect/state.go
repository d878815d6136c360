// SPDX-License-Identifier: Apache-2.0

package xconnect

import "fmt"

// EndpointPort is the other side of an endpoint port.
type EndpointPort struct {
	Client int    // outer end of the client port, 0: behind Tunnel
	Tunnel Tunnel // when the client is on another node
	Mark   uint32
}

// State is what the maps say about ports and tunnels.
type State struct {
	Clients   map[int][]Leg
	Endpoints map[int]EndpointPort
	Tunnels   map[TunnelKey]TunnelPort
}

// State returns all ports and tunnels, those of earlier processes, too.
func (x *XConnect) State() (State, error) {
	s := State{Clients: map[int][]Leg{}, Endpoints: map[int]EndpointPort{}, Tunnels: map[TunnelKey]TunnelPort{}}
	var (
		ifindex uint32
		port    xconnectPort
	)
	ports := x.objects.XcPorts.Iterate()
	for ports.Next(&ifindex, &port) {
		if port.Kind == xconnectPortKindPORT_ENDPOINT {
			to := port.Legs[0]
			s.Endpoints[int(ifindex)] = EndpointPort{Client: to.outer(), Tunnel: to.tunnel(), Mark: port.Mark}
		} else {
			s.Clients[int(ifindex)] = fromLegs(port)
		}
	}
	if err := ports.Err(); err != nil {
		return State{}, fmt.Errorf("read ports: %w", err)
	}
	var (
		key    xconnectTunnelKey
		tunnel xconnectTunnel
	)
	tunnels := x.objects.XcTunnels.Iterate()
	for tunnels.Next(&key, &tunnel) {
		s.Tunnels[key.fromMap()] = TunnelPort{IfIndex: int(tunnel.Ifindex), Mark: tunnel.Mark, Owner: tunnel.Owner}
	}
	if err := tunnels.Err(); err != nil {
		return State{}, fmt.Errorf("read tunnels: %w", err)
	}
	return s, nil
}
