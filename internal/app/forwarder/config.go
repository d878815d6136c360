// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/tunnel"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// Config of the forwarder of a node.
type Config struct {
	// Name of the NSE and in the path of connections; unique in the mesh.
	Name string
	// ConnectTo is the nsmgr.
	ConnectTo *url.URL
	// ListenOn is where the nsmgr connects to, unix or tcp.
	ListenOn *url.URL
	// Service is the network service of forwarders; "forwarder" when empty.
	Service string
	// Labels by which an nsmgr chooses a forwarder; p2p=true when nil.
	Labels map[string]string
	// PassSocket registers with a descriptor of the socket instead of its path,
	// for an nsmgr in another mount namespace.
	PassSocket bool
	// DialTimeout bounds connecting to endpoints; mesh.DefaultDialTimeout when
	// zero.
	DialTimeout time.Duration
	// NetNS is the path of the namespace of the interfaces' outer ends, the
	// process's own when empty.
	NetNS string
	// PinDir is a directory in a BPF file system where programs and maps are
	// pinned; nothing is when empty.
	PinDir string
	// KeepOnStop leaves the data path where it is when the forwarder stops, for
	// the next one, as when it is killed. Only with PinDir.
	KeepOnStop bool
	// Grace is how long what an earlier forwarder left is kept for connections
	// that do not come back; stitch.DefaultGrace when zero.
	Grace time.Duration

	// Devices are base interfaces of VLANs by the label via of endpoints that name
	// none.
	Devices vlanmech.Devices

	// TunnelIP is the node's address for tunnels to other nodes; without it there
	// are none.
	TunnelIP netip.Addr
	// TunnelPort is the UDP port of VXLAN on all nodes; 4789 when zero.
	TunnelPort uint16
	// Policy is for network services whose endpoints have none.
	Policy tunnelmech.Policy
	// LivenessInterval is how often another node is probed, LivenessMultiplier how
	// many probes without answer make it dead; liveness' defaults when zero.
	LivenessInterval   time.Duration
	LivenessMultiplier int
	// WireGuard says who encrypts; wireguard.Auto when empty.
	WireGuard wireguard.Mode
	// WireGuardDir is the directory of its control sockets, of this forwarder
	// alone; /run/weft/wireguard when empty.
	WireGuardDir string
	// WireGuardPort and the one after it are its UDP ports; 51820 when zero.
	WireGuardPort uint16
	// KeyRotation is how old its keys get; a day when zero, forever when negative.
	KeyRotation time.Duration
}

// vlanPinDir is where VLANs are pinned: beside the cross-connect's maps, which
// others list, too.
func (c Config) vlanPinDir() string {
	if c.PinDir == "" {
		return ""
	}
	return filepath.Join(c.PinDir, "vlan")
}

// WireGuardOff refuses encryption.
const WireGuardOff wireguard.Mode = "off"

func (c Config) tunnelPort() uint16 {
	if c.TunnelPort == 0 {
		return tunnel.DefaultPort
	}
	return c.TunnelPort
}

// Deps is what the forwarder gets from the process around it.
type Deps struct {
	Security mesh.Security         // plain when zero
	Log      *slog.Logger          // slog.Default() when nil
	Metrics  prometheus.Registerer // gets the forwarder's metrics; none when nil
}

func (c Config) withDefaults() Config {
	if c.Service == "" {
		c.Service = "forwarder"
	}
	if c.Labels == nil {
		c.Labels = map[string]string{"p2p": "true"}
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = mesh.DefaultDialTimeout
	}
	if c.WireGuard == "" {
		c.WireGuard = wireguard.Auto
	}
	if c.WireGuardDir == "" {
		c.WireGuardDir = "/run/weft/wireguard"
	}
	return c
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("forwarder: "+format, args...))
		}
	}
	need(c.Name != "", "Name is empty")
	need(c.ConnectTo != nil, "ConnectTo is empty")
	need(c.ListenOn != nil, "ListenOn is empty")
	need(c.DialTimeout >= 0, "DialTimeout %s is negative", c.DialTimeout)
	need(!c.PassSocket || c.ListenOn == nil || c.ListenOn.Scheme == "unix", "PassSocket needs a unix socket, ListenOn is %s", c.ListenOn)
	need(!c.KeepOnStop || c.PinDir != "", "KeepOnStop needs PinDir")
	need(c.Grace >= 0 && c.LivenessInterval >= 0 && c.LivenessMultiplier >= 0, "Grace, LivenessInterval or LivenessMultiplier is negative")
	switch c.WireGuard {
	case "", WireGuardOff, wireguard.Auto, wireguard.Kernel, wireguard.Userspace:
	default:
		need(false, "WireGuard %q is neither off, auto, kernel nor userspace", c.WireGuard)
	}
	if ip := c.TunnelIP; ip.IsValid() {
		need(!ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == "", "TunnelIP %s is no address of a node", ip)
	}
	return errors.Join(errs...)
}
