// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/pkg/dataplane/lb"
	"github.com/weft-project/weft/pkg/networkservice/ipam"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// DefaultDrain is how long Stop waits for clients to leave.
const DefaultDrain = 5 * time.Second

// DefaultWithdraw is how long gateways get to send traffic elsewhere.
const DefaultWithdraw = time.Second

// Config of one endpoint. Name, ConnectTo, ListenOn, ExternalInterface,
// CIDRPrefixes and either Conduit and Trench or ServiceNames are needed.
type Config struct {
	Name      string   // of the NSE, unique in the mesh and stable over restarts
	ConnectTo *url.URL // of the nsmgr or registry
	ListenOn  *url.URL // unix or tcp; where the nsmgr and forwarders connect to
	// PassSocket registers with a descriptor of the socket instead of its path,
	// for an nsmgr in another mount namespace.
	PassSocket bool

	Trench, Conduit string            // make the network service <conduit>.<trench>
	ServiceNames    []string          // instead of it
	Payload         string            // of the network services; ETHERNET when empty
	Labels          map[string]string // of the NSE, for every network service
	KeepService     bool              // do not register the network services, only the NSE
	// Mechanism is how workloads on other nodes reach it, vxlan or wireguard, and
	// MechanismPolicy whether that is preferred or required; what their forwarders
	// are configured for when empty.
	Mechanism, MechanismPolicy string

	NetNS             string // path of the namespace that it balances in, "" = the process's own
	ExternalInterface string // in it
	VLAN              uint16 // tag on the external interface, 0 = none
	CIDRPrefixes      []netip.Prefix
	StateDir          string  // keeps the leases of addresses over a restart; "": the kernel's routes to legs do
	MTU               uint32  // of connections, 0 = the client's
	TableSize         uint32  // of streams that do not say, a prime number, 0 = maglev.DefaultSize
	MaxTableSize      uint32  // of streams that say, 0 = TableSize; every stream takes 4 bytes for each slot
	Mode              lb.Mode // where the program meets frames of the external interface
	MaxFlows          int     // 0 = lb.DefaultMaxFlows
	MaxFragments      int     // 0 = lb.DefaultMaxFragments
	MaxStreams        int     // 0 = lb.DefaultMaxStreams
	MaxTargets        int     // 0 = lb.DefaultMaxTargets

	// PinDir is a directory in a BPF file system, of this endpoint alone, where
	// the data path is pinned: it works on while there is no process, until the
	// next one of this name takes over. "": it ends with the process.
	PinDir string
	// KeepOnEnd makes the end of Start's context an Abandon, not a Stop.
	KeepOnEnd bool
	// Grace is how long that one waits for the targets of the one before, from
	// its registration on; 0 = balancer.DefaultGrace.
	Grace time.Duration

	// FrontendSocket is the path of the control socket of the frontend's process,
	// which outlives this one; needed for gateways with BGP or BFD.
	FrontendSocket string
	// Withdraw is how long Stop waits, at most, for gateways to take the VIPs back
	// before clients leave; 0 = DefaultWithdraw.
	Withdraw time.Duration

	IdleTimeout time.Duration // stop after so long without connection, 0 = never
	Drain       time.Duration // 0 = DefaultDrain
}

// Deps is what an endpoint gets from the process around it.
type Deps struct {
	Security mesh.Security         // plain when zero
	Log      *slog.Logger          // slog.Default() when nil
	Metrics  prometheus.Registerer // gets the metrics, with the label endpoint; none when nil
	Balance  balancer.Config       // to begin with
	Events   announce.Recorder     // is told about announcements; nil = Log is
}

func (c Config) withDefaults() Config {
	if len(c.ServiceNames) == 0 {
		c.ServiceNames = []string{c.Conduit + "." + c.Trench}
	}
	if c.Payload == "" {
		c.Payload = "ETHERNET"
	}
	if c.TableSize == 0 {
		c.TableSize = maglev.DefaultSize
	}
	if c.MaxTableSize == 0 {
		c.MaxTableSize = c.TableSize
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = lb.DefaultMaxStreams
	}
	if c.MaxTargets == 0 {
		c.MaxTargets = lb.DefaultMaxTargets
	}
	if c.Withdraw == 0 {
		c.Withdraw = DefaultWithdraw
	}
	if c.Drain == 0 {
		c.Drain = DefaultDrain
	}
	return c
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var problems []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("endpoint: "+format, args...))
		}
	}
	need(c.Name != "", "Name is empty")
	need(c.ConnectTo != nil, "ConnectTo is empty")
	need(c.ListenOn != nil, "ListenOn is empty")
	need(len(c.ServiceNames) > 0 || c.Conduit != "" && c.Trench != "", "neither ServiceNames nor Conduit and Trench are set")
	need(c.ExternalInterface != "", "ExternalInterface is empty")
	need(c.TableSize == 0 || maglev.IsPrime(c.TableSize), "TableSize %d is not a prime number", c.TableSize)
	need(c.MaxTableSize == 0 || c.MaxTableSize >= c.withDefaults().TableSize, "MaxTableSize %d is less than TableSize", c.MaxTableSize)
	need(c.MaxTableSize <= lb.MaxTableSize, "MaxTableSize %d is more than %d", c.MaxTableSize, lb.MaxTableSize)
	need(c.MaxFlows >= 0 && c.MaxFlows <= lb.MaxFlows, "MaxFlows %d is not within 0 to %d", c.MaxFlows, lb.MaxFlows)
	need(c.MaxFragments == 0 || c.MaxFragments >= lb.MinFragments && c.MaxFragments <= lb.MaxFragments,
		"MaxFragments %d is neither 0 nor within %d to %d", c.MaxFragments, lb.MinFragments, lb.MaxFragments)
	need(!c.PassSocket || c.ListenOn == nil || c.ListenOn.Scheme == "unix", "PassSocket needs a unix socket, ListenOn is %s", c.ListenOn)
	need(c.IdleTimeout >= 0 && c.Drain >= 0 && c.Grace >= 0 && c.Withdraw >= 0, "IdleTimeout, Drain, Withdraw or Grace is negative")
	need(!c.KeepOnEnd || c.PinDir != "", "KeepOnEnd needs PinDir")
	need(c.PinDir == "" || filepath.IsAbs(c.PinDir), "PinDir %q is not an absolute path", c.PinDir)
	if _, err := tunnelmech.ParsePolicy(c.Mechanism, c.MechanismPolicy); err != nil {
		need(false, "Mechanism: %v", err)
	}
	if _, err := ipam.NewPool(c.CIDRPrefixes...); err != nil {
		need(false, "CIDRPrefixes: %v", err)
	}
	return errors.Join(problems...)
}
