// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// What veth accepts.
	minMTU = 68
	maxMTU = 65535
	// maxID leaves an interface's alias (255 bytes) room for its prefix.
	maxID = 240
)

// validate joins all problems of a leg.
func (l Leg) validate() error {
	var errs []error
	if l.ID == "" {
		errs = append(errs, fmt.Errorf("id is empty: %w", ErrInvalidLeg))
	}
	if len(l.ID) > maxID {
		errs = append(errs, fmt.Errorf("id has %d bytes, at most %d are possible: %w", len(l.ID), maxID, ErrInvalidLeg))
	}
	if l.Client.Tunnel != nil && l.Endpoint.Tunnel != nil {
		errs = append(errs, fmt.Errorf("both sides are on other nodes: %w", ErrInvalidLeg))
	}
	errs = append(errs, sideError("client", l.Client.validate()), sideError("endpoint", l.Endpoint.validate()))
	return errors.Join(errs...)
}

func (s Side) validate() error {
	if s.Tunnel != nil {
		return errors.Join(s.Tunnel.validate(), checkMAC("MAC", s.MAC))
	}
	errs := []error{checkName(s.Interface), checkMAC("MAC", s.MAC)}
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, ErrInvalidLeg)...))
	}
	if s.NetNS == "" {
		errs = append(errs, fmt.Errorf("namespace path is empty: %w", ErrNoNamespace))
	}
	if s.MTU != 0 && (s.MTU < minMTU || s.MTU > maxMTU) {
		bad("MTU %d is not between %d and %d", s.MTU, minMTU, maxMTU)
	}
	for _, a := range s.Addresses {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is4In6() {
			bad("address %s", a)
		}
	}
	if s.MTU != 0 && s.MTU < nl.MinMTU6 {
		for _, a := range s.Addresses {
			if a.Addr().Is6() {
				bad("MTU %d is too small for address %s: IPv6 needs %d", s.MTU, a, nl.MinMTU6)
			}
		}
	}
	for _, n := range s.Neighbours {
		if !n.IP.IsValid() || n.IP.Is4In6() || len(n.MAC) == 0 {
			bad("neighbour %s %s", n.IP, n.MAC)
		}
		errs = append(errs, checkMAC("neighbour "+n.IP.String(), n.MAC))
	}
	routes := s.Routes
	for _, p := range s.Policies {
		if !p.From.IsValid() || p.From.Addr().Is4In6() {
			bad("policy from %s", p.From)
			continue
		}
		for _, r := range p.Routes {
			if r.Prefix.IsValid() && r.Prefix.Addr().Is4() != p.From.Addr().Is4() {
				bad("policy from %s: route %s of the other family", p.From, r.Prefix)
			}
		}
		routes = append(routes[:len(routes):len(routes)], p.Routes...)
	}
	for _, r := range routes {
		if !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6() ||
			r.Gateway.IsValid() && r.Gateway.Is4() != r.Prefix.Addr().Is4() {
			bad("route %s via %s", r.Prefix, r.Gateway)
		}
	}
	return errors.Join(errs...)
}

func (t Tunnel) validate() error {
	switch {
	case t.Device <= 0:
		return fmt.Errorf("tunnel device %d: %w", t.Device, ErrInvalidLeg)
	case t.VNI == 0 || t.VNI > maxVNI || t.VNI == controlVNI:
		return fmt.Errorf("VNI %d is not between 1 and %d, or is %d: %w", t.VNI, maxVNI, controlVNI, ErrInvalidLeg)
	case !t.Remote.IsValid() || t.Remote.IsUnspecified() || t.Remote.IsMulticast() || t.Remote.Is4In6():
		return fmt.Errorf("remote address %s: %w", t.Remote, ErrInvalidLeg)
	case !t.Local.IsValid() || t.Local.Is4() != t.Remote.Is4():
		return fmt.Errorf("local address %s to remote %s: %w", t.Local, t.Remote, ErrInvalidLeg)
	}
	return nil
}

// checkName applies the kernel's rules (dev_valid_name).
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..":
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("%q has %d bytes, at most %d are possible: %w",
			name, len(name), unix.IFNAMSIZ-1, ErrBadInterfaceName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || r == 0 || r == '%' }):
	default:
		return nil
	}
	return fmt.Errorf("%q: %w", name, ErrBadInterfaceName)
}

func checkMAC(what string, mac net.HardwareAddr) error {
	if mac == nil || len(mac) == 6 && mac[0]&1 == 0 {
		return nil
	}
	return fmt.Errorf("%s %s is no unicast Ethernet address: %w", what, mac, ErrInvalidLeg)
}
