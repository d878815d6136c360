// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/networkservice/ipam"
	"github.com/weft-project/weft/pkg/networkservice/leg"
)

// newPool returns the pool of addresses, with what an earlier run has left.
func (c *Component) newPool(generate token.GeneratorFunc) (*ipam.Pool, error) {
	pool, err := ipam.NewPool(c.config.CIDRPrefixes...)
	if err != nil {
		return nil, err
	}
	past := ipam.Past{Legs: func() (map[netip.Addr]string, error) { return legs(c.config.NetNS) }, Longest: lifetime(generate), Log: c.log}
	if c.config.StateDir != "" {
		if past.Ledger, err = ipam.OpenLedger(c.config.StateDir, c.config.Name); err != nil {
			return nil, err
		}
	}
	if err := pool.Adopt(past); err != nil {
		return nil, err
	}
	return pool, nil
}

// lifetime is how long an earlier run's tokens can have been good for: the
// endpoint grants no longer leases.
func lifetime(generate token.GeneratorFunc) time.Duration {
	_, expires, err := generate(nil)
	if err != nil {
		return mesh.DefaultTokenLifetime
	}
	return max(time.Until(expires), mesh.DefaultTokenLifetime)
}

// legs returns the addresses behind leg interfaces, with the interfaces' names.
func legs(netNS string) (_ map[netip.Addr]string, err error) {
	handle, err := nl.Open(netNS)
	if err != nil {
		return nil, fmt.Errorf("look for legs: %w", err)
	}
	defer func() { _ = handle.Close() }()
	links, err := handle.Links()
	if err != nil {
		return nil, fmt.Errorf("look for legs: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		if strings.HasPrefix(link.Name, leg.Prefix) {
			names[link.Index] = link.Name
		}
	}
	hosts, err := handle.HostRoutes()
	if err != nil {
		return nil, fmt.Errorf("look for legs: %w", err)
	}
	behind := map[netip.Addr]string{}
	for addr, index := range hosts {
		if name := names[index]; name != "" {
			behind[addr] = name
		}
	}
	return behind, nil
}
