// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
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
	// TunnelIP is the node's address for tunnels to other nodes.
	TunnelIP netip.Addr
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
	return errors.Join(errs...)
}
