// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// applier brings one inner end from what is there to what is wanted.
type applier struct {
	tx     *tx
	h      *nl.Handle // in the inner end's namespace
	in     *inner
	is     reality
	want   config
	tables *tableLease
	legs   *legSet
}

// apply makes the differences. Routes need the interface up: while it is
// down, they are left for the apply that follows its carrier.
//
// Order: a source address appears only after its policy, and leaves before
// it, so that no packet with it takes another network. Addresses without a
// policy appear first: in a namespace without any address (its lo is down) the
// kernel takes no gateway for a neighbour.
func (a *applier) apply() error {
	var missing []netip.Prefix
	for _, address := range a.want.addresses {
		if !slices.Contains(a.is.addresses, address) {
			missing = append(missing, address)
		}
	}
	shared, err := a.checkAddresses(missing)
	if err != nil {
		return err
	}
	if shared {
		// It stays on: connections outlive the attachment that needed it.
		if err := a.tx.must("mark replies", a.in.markReplies, nil); err != nil {
			return err
		}
	}
	restore(a.tx, &a.in.ours)
	var plain, vips []netip.Prefix
	for _, address := range missing {
		if a.want.vip(address.Addr()) {
			vips = append(vips, address)
		} else {
			plain = append(plain, address)
		}
	}
	for _, step := range []func() error{
		func() error { return a.addAddresses(plain) },
		a.renewLeases, a.addNeighbours, a.addPolicies,
		func() error { return a.addAddresses(vips) },
		func() error { return a.addRoutes(a.want.routes, a.is.routes, 0) },
		// A route goes before the address that is its source, or the kernel
		// would take it along and it could not be put back.
		func() error { return a.deleteRoutes(a.in.ours.routes, a.want.routes, a.is.routes, 0) },
		a.deleteAddresses, a.deletePolicies, a.deleteNeighbours,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	a.in.ours = a.want
	return nil
}

func (a *applier) addAddresses(missing []netip.Prefix) error {
	for _, address := range missing {
		err := a.tx.do("add address "+address.String(),
			func() error { return a.addAddress(address) },
			func() error { return a.h.DeleteAddress(a.in.index, address) })
		if err != nil {
			return err
		}
		if address.Addr().Is6() {
			a.in.unsure = append(a.in.unsure, address.Addr())
		}
	}
	return nil
}

func (a *applier) addAddress(address netip.Prefix) error {
	until, leased := a.want.leases[address]
	if !leased {
		return a.h.AddAddress(a.in.index, address)
	}
	return a.h.LeaseAddress(a.in.index, address, time.Until(until))
}

// renewLeases lengthens the leases of addresses that are there.
func (a *applier) renewLeases() error {
	for address, until := range a.want.leases {
		if !slices.Contains(a.is.addresses, address) || a.in.ours.leases[address].Equal(until) {
			continue
		}
		// The old lease cannot be told exactly any more, but this one is not
		// longer than what was granted.
		err := a.tx.do("renew lease of "+address.String(),
			func() error { return a.h.LeaseAddress(a.in.index, address, time.Until(until)) }, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) deleteAddresses() error {
	for _, address := range a.in.ours.addresses {
		if slices.Contains(a.want.addresses, address) || !slices.Contains(a.is.addresses, address) {
			continue
		}
		err := a.tx.do("delete address "+address.String(),
			func() error { return a.h.DeleteAddress(a.in.index, address) },
			func() error { return a.h.AddAddress(a.in.index, address) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) addNeighbours() error {
	for ip, mac := range a.want.neighbours {
		old, known := a.is.neighbours[ip]
		if known && old == mac {
			continue
		}
		inverse := func() error { return a.h.DeleteNeighbour(a.in.index, ip) }
		if known {
			inverse = func() error { return a.h.AddNeighbour(a.in.index, ip, macOf(old)) }
		}
		err := a.tx.do("add neighbour "+ip.String(), func() error { return a.h.AddNeighbour(a.in.index, ip, macOf(mac)) }, inverse)
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) deleteNeighbours() error {
	for ip, mac := range a.in.ours.neighbours {
		if _, wanted := a.want.neighbours[ip]; wanted || a.is.neighbours[ip] != mac {
			continue
		}
		err := a.tx.do("delete neighbour "+ip.String(),
			func() error { return a.h.DeleteNeighbour(a.in.index, ip) },
			func() error { return a.h.AddNeighbour(a.in.index, ip, macOf(mac)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// addRoutes adds what a table lacks and replaces what leads elsewhere.
func (a *applier) addRoutes(want, is routes, table int) error {
	if !a.is.up {
		return nil
	}
	for prefix, to := range want {
		old, known := is[prefix]
		if known && old.equal(to) {
			continue
		}
		route := a.in.netRoute(prefix, to, table)
		inverse := func() error { return a.h.DeleteRoute(route) }
		if known {
			inverse = func() error { return a.h.ReplaceRoute(a.in.netRoute(prefix, old, table)) }
		}
		change := func() error { return a.h.ReplaceRoute(route) }
		if !known {
			// Somebody else's route of that prefix must stay.
			change = func() error { return a.h.AddRoute(route) }
		}
		if err := a.tx.must("add route "+route.String(), change, inverse); err != nil {
			return err
		}
	}
	return nil
}

// deleteRoutes removes those of ours that are not wanted any more.
func (a *applier) deleteRoutes(ours, want, is routes, table int) error {
	for prefix := range ours {
		old, present := is[prefix]
		if _, wanted := want[prefix]; wanted || !present {
			continue
		}
		route := a.in.netRoute(prefix, old, table)
		err := a.tx.do("delete route "+route.String(),
			func() error { return a.h.DeleteRoute(route) },
			func() error { return a.h.AddRoute(route) })
		if err != nil {
			return err
		}
	}
	return nil
}
