// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func (c *checker) gateway(spec *v1alpha1.GatewaySpec) {
	if a, err := netip.ParseAddr(spec.Address); err != nil || a.Zone() != "" || a.Is4In6() {
		c.errorf("spec.address", "%q is not an IP address", spec.Address)
	} else if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		c.errorf("spec.address", "%s is not a unicast address of a router", a)
	}
	if !c.oneOf("spec.protocol", spec.Protocol, v1alpha1.ProtocolBGP, v1alpha1.ProtocolStatic) {
		return
	}
	if spec.Protocol == v1alpha1.ProtocolStatic {
		if spec.BGP != nil {
			c.errorf("spec.bgp", "must be empty with protocol static")
		}
		c.bfd("spec.static.bfd", spec.Static.BFD)
		if spec.Static.BFD.Strict {
			c.errorf("spec.static.bfd.strict", "is for protocol bgp: it holds back the BGP session until BFD is up")
		}
		return
	}
	if spec.Static != nil {
		c.errorf("spec.static", "must be empty with protocol bgp")
	}
	c.bgp("spec.bgp", spec.BGP)
	if a, err := netip.ParseAddr(spec.Address); err == nil && a.Is4() && spec.BGP.ExtendedNextHop {
		c.errorf("spec.bgp.extended-next-hop", "needs a session over IPv6; the address %s is IPv4", a)
	}
}

func (c *checker) bgp(path string, bgp *v1alpha1.BGP) {
	c.asn(path+".local-asn", bgp.LocalASN)
	c.asn(path+".remote-asn", bgp.RemoteASN)
	if *bgp.LocalPort == 0 {
		c.errorf(path+".local-port", "must be between 1 and 65535")
	}
	if *bgp.RemotePort == 0 {
		c.errorf(path+".remote-port", "must be between 1 and 65535")
	}
	// RFC 4271, 4.2: two octets of seconds, at least three.
	if d, ok := c.duration(path+".hold-time", bgp.HoldTime, 3*time.Second, 65535*time.Second); ok && d%time.Second != 0 {
		c.errorf(path+".hold-time", "must be whole seconds, not %s", bgp.HoldTime)
	}
	c.bfd(path+".bfd", bgp.BFD)
	c.hops(path, bgp)
	if bgp.Auth != nil {
		c.secretKey(path+".auth", bgp.Auth.KeyName, bgp.Auth.KeySource)
	}
}

// hops checks what says how far away the router may be.
func (c *checker) hops(path string, bgp *v1alpha1.BGP) {
	if t := bgp.TTLSecurity; t != nil && (*t < 1 || *t > 254) {
		c.errorf(path+".ttl-security", "must be between 1 (on the link) and 254, not %d", *t)
	}
	far := bgp.Multihop
	switch {
	case far == nil:
	case *far < 2:
		c.errorf(path+".multihop", "must be between 2 and 255, not %d; leave it out for a router on the link", *far)
	case bgp.TTLSecurity != nil:
		c.errorf(path+".multihop", "cannot be combined with ttl-security, which sends with TTL 255 and says how far away the router may be itself")
	}
	if *bgp.BFD.Switch && !bgp.BFD.Multihop && distant(bgp) {
		c.errorf(path+".bfd.multihop", "must be true: BFD without it watches routers on the link only, and this one need not be there")
	}
	if !*bgp.BFD.Switch && bgp.BFD.Strict {
		c.errorf(path+".bfd.strict", "needs bfd.switch: true")
	}
}

// distant says that the router need not be on the link.
func distant(bgp *v1alpha1.BGP) bool {
	return bgp != nil && (bgp.Multihop != nil || bgp.TTLSecurity != nil && *bgp.TTLSecurity > 1)
}

// Numbers that are nobody's: AS_TRANS (RFC 6793) and the last ones (RFC 7300).
var reservedASN = []uint32{23456, 65535, 1<<32 - 1}

func (c *checker) asn(path string, asn *uint32) {
	switch {
	case asn == nil:
		c.errorf(path, "is missing; protocol bgp needs it")
	case *asn == 0:
		c.errorf(path, "must be between 1 and 4294967295")
	case slices.Contains(reservedASN, *asn):
		c.errorf(path, "%d is reserved: it is no number of an autonomous system", *asn)
	}
}

// keySourcePattern is the name of a Secret, with the capitals that Meridio's
// v1alpha1 allowed.
var keySourcePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func (c *checker) secretKey(path, name, source string) {
	if !keyNamePattern.MatchString(name) || name == "." || name == ".." {
		c.errorf(path+".key-name", "%q is not a key; use letters, digits, '.', '-' and '_'", name)
	}
	if len(source) > maxName || !keySourcePattern.MatchString(source) {
		c.errorf(path+".key-source", "%q is not the name of a Secret", source)
	}
}

func (c *checker) bfd(path string, bfd *v1alpha1.BFD) {
	if !*bfd.Switch {
		return
	}
	// RFC 5880, 4.1: 32 bits of microseconds.
	const limit = (1<<32 - 1) * time.Microsecond
	c.duration(path+".min-tx", bfd.MinTx, time.Millisecond, limit)
	c.duration(path+".min-rx", bfd.MinRx, time.Millisecond, limit)
	if m := *bfd.Multiplier; m < 1 || m > 255 {
		c.errorf(path+".multiplier", "must be between 1 and 255, not %d", m)
	}
	if bfd.Auth != nil {
		c.bfdAuth(path+".auth", bfd.Auth)
	}
}

func (c *checker) bfdAuth(path string, auth *v1alpha1.BFDAuth) {
	if !c.oneOf(path+".type", auth.Type, v1alpha1.BFDAuthNone, v1alpha1.BFDAuthSHA1, v1alpha1.BFDAuthMeticulousSHA1) {
		return
	}
	if auth.Type == v1alpha1.BFDAuthNone {
		c.errorf(path+".type", "must be keyed-sha1 or meticulous-keyed-sha1 when a key is given")
		return
	}
	switch {
	case auth.KeyID == nil:
		c.errorf(path+".key-id", "is missing; it is a number from 0 to 255, the same at the router")
	case *auth.KeyID > 255:
		c.errorf(path+".key-id", "must be between 0 and 255, not %d", *auth.KeyID)
	}
	c.secretKey(path, auth.KeyName, auth.KeySource)
}
