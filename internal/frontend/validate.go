// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Bounds of what a Config may ask for.
const (
	maxHold      = 65535 * time.Second            // RFC 4271, 4.2
	minHold      = 3 * time.Second                // RFC 4271, 4.2, besides 0
	maxRestart   = 4095 * time.Second             // RFC 4724, 3: 12 bits
	maxInterval  = (1<<32 - 1) * time.Microsecond // RFC 5880, 4.1: 32 bits
	maxPassword  = 80                             // TCP_MD5SIG_MAXKEYLEN
	maxInterface = 15                             // IFNAMSIZ without its NUL
)

// problems collects what is wrong with a Config.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
}

// Validate names everything that is wrong with a Config, by its fields.
func (c Config) Validate() error {
	var p problems
	switch {
	case c.Interface == "":
		p.add("Interface", "empty")
	case len(c.Interface) > maxInterface:
		p.add("Interface", "%q has more than %d bytes", c.Interface, maxInterface)
	}
	switch {
	case c.Table <= 0 || int64(c.Table) > 1<<32-1:
		p.add("Table", "%d is not between 1 and %d", c.Table, int64(1<<32-1))
	case c.Table >= 253 && c.Table <= 255:
		p.add("Table", "%d is the kernel's own", c.Table)
	}
	if c.RouterID.IsValid() && (!c.RouterID.Is4() || c.RouterID.IsUnspecified()) {
		p.add("RouterID", "%s is not of the form of an IPv4 address", c.RouterID)
	}
	if c.GracefulRestart < 0 || c.GracefulRestart > maxRestart {
		p.add("GracefulRestart", "%v is not between 0 and %v", c.GracefulRestart, maxRestart)
	}
	if c.GracefulRestart%time.Second != 0 {
		p.add("GracefulRestart", "%v is not in whole seconds", c.GracefulRestart)
	}
	c.validatePrefixes(&p)
	names, addresses := map[string]bool{}, map[netip.Addr]string{}
	for i, g := range c.Gateways {
		field := fmt.Sprintf("Gateways[%d]", i)
		if g.Name == "" {
			p.add(field+".Name", "empty")
		} else {
			field = fmt.Sprintf("Gateways[%s]", g.Name)
		}
		if names[g.Name] {
			p.add(field+".Name", "twice")
		}
		names[g.Name] = true
		if other, ok := addresses[g.Address]; ok {
			p.add(field+".Address", "%s is that of gateway %s, too", g.Address, other)
		}
		addresses[g.Address] = g.Name
		g.validate(field, &p)
	}
	return errors.Join(p...)
}

func (c Config) validatePrefixes(p *problems) {
	seen := map[netip.Prefix]bool{}
	for i, v := range c.VIPs {
		field := fmt.Sprintf("VIPs[%d]", i)
		switch {
		case !v.IsValid():
			p.add(field, "not an address or prefix")
		case v != v.Masked() || v.Addr().Is4In6() || v.Addr().Zone() != "":
			p.add(field, "%s is not a prefix: want %s", v, netip.PrefixFrom(v.Addr().Unmap().WithZone(""), v.Bits()).Masked())
		case v.Bits() == 0 || v.Addr().IsMulticast() || v.Addr().IsLoopback() || v.Addr().IsLinkLocalUnicast() || v.Addr().IsUnspecified():
			p.add(field, "%s can not be a service's", v)
		case seen[v]:
			p.add(field, "%s is there twice", v)
		}
		seen[v] = true
	}
	twice := map[netip.Prefix]bool{}
	for i, a := range c.Announce {
		field := fmt.Sprintf("Announce[%d]", i)
		if !seen[a] {
			p.add(field, "%s is none of VIPs", a)
		}
		if twice[a] {
			p.add(field, "%s is there twice", a)
		}
		twice[a] = true
	}
}

func (g Gateway) validate(field string, p *problems) {
	switch a := g.Address; {
	case !a.IsValid():
		p.add(field+".Address", "empty")
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6() || a.Zone() != "":
		p.add(field+".Address", "%s can not be a gateway's", a)
	}
	if g.BGP != nil {
		g.BGP.validate(field+".BGP", g.Address, p)
	}
	if g.BFD != nil {
		g.BFD.validate(field+".BFD", p)
	}
	if g.BGP != nil && g.BGP.Strict && g.BFD == nil {
		p.add(field+".BGP.Strict", "needs BFD")
	}
}

func (b BGP) validate(field string, address netip.Addr, p *problems) {
	for _, as := range []struct {
		name   string
		number uint32
	}{{"LocalASN", b.LocalASN}, {"RemoteASN", b.RemoteASN}} {
		// RFC 7607, 4893 and 7300.
		if as.number == 0 || as.number == 23456 || as.number == 65535 || as.number == 1<<32-1 {
			p.add(field+"."+as.name, "%d is no number of an autonomous system", as.number)
		}
	}
	if b.HoldTime != 0 && (b.HoldTime < minHold || b.HoldTime > maxHold) {
		p.add(field+".HoldTime", "%v is neither 0 nor between %v and %v", b.HoldTime, minHold, maxHold)
	}
	if b.HoldTime%time.Second != 0 {
		p.add(field+".HoldTime", "%v is not in whole seconds", b.HoldTime)
	}
	if len(b.Password) > maxPassword {
		p.add(field+".Password", "more than %d bytes", maxPassword)
	}
	if b.TTLSecurity != 0 && b.Multihop != 0 {
		p.add(field+".TTLSecurity", "not together with Multihop")
	}
	if b.ExtendedNextHop && !address.Is6() {
		p.add(field+".ExtendedNextHop", "needs an IPv6 address of the gateway, not %s", address)
	}
}

func (b BFD) validate(field string, p *problems) {
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"MinTx", b.MinTx}, {"MinRx", b.MinRx}} {
		if t.value < time.Millisecond || t.value > maxInterval {
			p.add(field+"."+t.name, "%v is not between %v and %v", t.value, time.Millisecond, maxInterval)
		}
	}
	if b.Multiplier == 0 {
		p.add(field+".Multiplier", "0")
	}
	switch {
	case !slices.Contains([]AuthType{AuthNone, AuthSHA1, AuthMeticulousSHA1}, b.Auth):
		p.add(field+".Auth", "%q is neither empty nor %s nor %s", b.Auth, AuthSHA1, AuthMeticulousSHA1)
	case b.Auth == AuthNone && len(b.AuthKey) > 0:
		p.add(field+".AuthKey", "without Auth")
	case b.Auth != AuthNone && (len(b.AuthKey) == 0 || len(b.AuthKey) > 20):
		p.add(field+".AuthKey", "has %d bytes, not 1 to 20", len(b.AuthKey))
	}
}
