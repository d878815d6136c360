// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
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
	past := ipam.Past{Legs: legs(c.config.NetNS), Longest: lifetime(generate), Log: c.log}
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

// legs looks for leg interfaces in the namespace at a path.
type legs string

var _ ipam.Legs = legs("")

// look calls fn with a handle in the namespace.
func (netNS legs) look(fn func(*nl.Handle) error) error {
	if err := nl.Do(string(netNS), fn); err != nil {
		return fmt.Errorf("look for legs: %w", err)
	}
	return nil
}

// All implements ipam.Legs.
func (netNS legs) All() (map[netip.Addr]string, error) {
	behind := map[netip.Addr]string{}
	return behind, netNS.look(func(handle *nl.Handle) error {
		links, err := handle.Links()
		if err != nil {
			return err
		}
		names := map[int]string{}
		for _, link := range links {
			if strings.HasPrefix(link.Name, leg.Prefix) {
				names[link.Index] = link.Name
			}
		}
		hosts, err := handle.HostRoutes(0)
		if err != nil {
			return err
		}
		for addr, index := range hosts {
			if name := names[index]; name != "" {
				behind[addr] = name
			}
		}
		return nil
	})
}

// At implements ipam.Legs.
func (netNS legs) At(addr netip.Addr) (name string, err error) {
	return name, netNS.look(func(handle *nl.Handle) error {
		index, err := handle.HostRoute(addr)
		if err != nil || index == 0 {
			return err
		}
		link, err := handle.LinkByIndex(index)
		if errors.Is(err, nl.ErrNotFound) {
			return nil
		}
		if strings.HasPrefix(link.Name, leg.Prefix) {
			name = link.Name
		}
		return err
	})
}

// Of implements ipam.Legs.
func (netNS legs) Of(name string) (addrs []netip.Addr, err error) {
	return addrs, netNS.look(func(handle *nl.Handle) error {
		link, err := handle.LinkByName(name)
		if errors.Is(err, nl.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		hosts, err := handle.HostRoutes(link.Index)
		addrs = slices.SortedFunc(maps.Keys(hosts), netip.Addr.Compare)
		return err
	})
}
