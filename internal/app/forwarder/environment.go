// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"fmt"
	"net/netip"
	"net/url"

	"github.com/weft-project/weft/internal/config"
)

// Environment are the variables of upstream's forwarders that mean something
// here.
type Environment struct {
	config.Common
	NSName   string            `env:"NSM_NSNAME" default:"forwarder" desc:"network service of forwarders"`
	Labels   map[string]string `env:"NSM_LABELS" default:"p2p:true" desc:"labels by which an nsmgr chooses a forwarder"`
	ListenOn *url.URL          `env:"NSM_LISTEN_ON" default:"unix:///listen.on.socket" desc:"where to serve"`
	Port     uint16            `env:"NSM_VXLAN_PORT" default:"4789" desc:"UDP port of VXLAN on all nodes; 0 = 4789"`
	TunnelIP tunnelIP          `env:"NSM_TUNNEL_IP" desc:"address, or address/bits, of this node for tunnels to others"`
	Devices  deviceFile        `env:"NSM_DEVICE_SELECTOR_FILE" desc:"file with the base interfaces of VLANs by the label via, for endpoints that name no interface"`
}

// tunnelIP takes what upstream's forwarders take: some an address, some a prefix.
type tunnelIP struct{ netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (ip *tunnelIP) UnmarshalText(text []byte) error {
	if prefix, err := netip.ParsePrefix(string(text)); err == nil {
		ip.Addr = prefix.Addr()
		return nil
	}
	address, err := netip.ParseAddr(string(text))
	if err != nil {
		return fmt.Errorf("want an address or address/bits")
	}
	ip.Addr = address
	return nil
}

// ReadEnvironment returns the decoded variables.
func ReadEnvironment(lookup config.Lookup) (Environment, error) {
	var e Environment
	if err := config.Decode(lookup, &e); err != nil {
		return Environment{}, err
	}
	if e.Name == "" {
		e.Name = "forwarder"
	}
	return e, nil
}

// Config returns what the variables say.
func (e Environment) Config() Config {
	return Config{
		Name:        e.Name,
		ConnectTo:   e.ConnectTo,
		ListenOn:    e.ListenOn,
		Service:     e.NSName,
		Labels:      e.Labels,
		DialTimeout: e.DialTimeout,
		TunnelIP:    e.TunnelIP.Addr,
		TunnelPort:  e.Port,
		Devices:     e.Devices.Devices,
	}
}
