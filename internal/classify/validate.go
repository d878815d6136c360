// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Validate returns every problem of the set, joined.
func (s Set) Validate() error {
	var errs []error
	for _, p := range s.VIPs {
		if err := checkVIP(p); err != nil {
			errs = append(errs, err)
		}
	}
	if len(s.MAC) != 6 {
		errs = append(errs, fmt.Errorf("MAC %q: not 6 bytes", s.MAC))
	}
	if len(s.Rules) > MaxRules {
		errs = append(errs, fmt.Errorf("%d rules: at most %d", len(s.Rules), MaxRules))
	}
	names := make(map[string]bool, len(s.Rules))
	for i := range s.Rules {
		r := &s.Rules[i]
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("rule %q: name used twice", r.Name))
		}
		names[r.Name] = true
		if err := r.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.checkNATs()...)
	return errors.Join(errs...)
}

// Validate returns every problem of the rule, joined, each with its name.
func (r *Rule) Validate() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("rule %q: %w", r.Name, err))
		}
	}
	if r.Name == "" {
		add(errors.New("no name"))
	}
	if len(r.VIPs) == 0 {
		add(errors.New("no VIP"))
	}
	for _, p := range r.VIPs {
		add(checkVIP(p))
	}
	for _, p := range r.Sources {
		if err := checkPrefix(p); err != nil {
			add(fmt.Errorf("source %s: %w", p, err))
		}
	}
	for _, p := range r.SourcePorts {
		add(checkPorts("source", p))
	}
	for _, p := range r.DestinationPorts {
		add(checkPorts("destination", p))
	}
	for _, p := range r.Protocols {
		if !slices.Contains(protocols[:], p) {
			add(fmt.Errorf("protocol %d: neither TCP, UDP nor SCTP", p))
		}
	}
	add(r.checkTargetPort())
	if len(r.ByteMatches) > MaxByteMatches {
		add(fmt.Errorf("%d byte matches: at most %d", len(r.ByteMatches), MaxByteMatches))
	}
	for _, m := range r.ByteMatches {
		if err := m.validate(); err != nil {
			add(fmt.Errorf("byte match %d[%d:%d]: %w", m.Protocol, m.Offset, m.Width, err))
		}
	}
	return errors.Join(errs...)
}

func (m ByteMatch) validate() error {
	switch {
	case !slices.Contains(protocols[:], m.Protocol):
		return fmt.Errorf("protocol %d: neither TCP, UDP nor SCTP", m.Protocol)
	case m.Width != 1 && m.Width != 2 && m.Width != 4:
		return fmt.Errorf("width %d: not 1, 2 or 4", m.Width)
	case m.Offset > MaxByteOffset:
		return fmt.Errorf("offset %d: at most %d", m.Offset, MaxByteOffset)
	case uint64(m.Mask)>>(8*m.Width) != 0:
		return fmt.Errorf("mask %#x: wider than %d bytes", m.Mask, m.Width)
	case m.Value&^m.mask() != 0:
		return fmt.Errorf("value %#x: has bits outside of mask %#x", m.Value, m.mask())
	}
	return nil
}

func (m ByteMatch) mask() uint32 {
	if m.Mask != 0 {
		return m.Mask
	}
	return uint32(uint64(1)<<(8*m.Width) - 1)
}

func checkVIP(p netip.Prefix) error {
	err := checkPrefix(p)
	if err == nil && p.Bits() == 0 {
		err = errors.New("is the whole address space")
	}
	if err == nil {
		err = checkUnicast(p.Addr())
	}
	if err != nil {
		return fmt.Errorf("VIP %s: %w", p, err)
	}
	return nil
}

func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("not a valid prefix")
	case p.Addr().Is4In6():
		return errors.New("IPv4 address in IPv6 form")
	case p.Masked() != p:
		return fmt.Errorf("has bits after the prefix length, %s is meant?", p.Masked())
	}
	return nil
}

func checkUnicast(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return errors.New("not a valid address")
	case a.Is4In6():
		return errors.New("IPv4 address in IPv6 form")
	case a.Zone() != "":
		return errors.New("has a zone")
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
		return errors.New("not a unicast address of a network")
	}
	return nil
}

func checkPorts(which string, p PortRange) error {
	if p.First > p.Last {
		return fmt.Errorf("%s ports %d-%d: first after last", which, p.First, p.Last)
	}
	return nil
}

// family is 0 for IPv4, 1 for IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
