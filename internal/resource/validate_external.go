// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func (c *checker) attractor(spec *v1alpha1.AttractorSpec) {
	if *spec.Replicas < 0 {
		c.errorf("spec.replicas", "must be 0 or more, not %d", *spec.Replicas)
	}
	if len(spec.Composites) != 1 {
		c.errorf("spec.composites", "must name exactly one conduit, not %d", len(spec.Composites))
	}
	c.unique("spec.gateways", spec.Gateways)
	c.unique("spec.vips", spec.Vips)
	c.externalInterface(&spec.Interface)
}

func (c *checker) externalInterface(spec *v1alpha1.InterfaceSpec) {
	const path = "spec.interface"
	c.check(path+".name", checkInterfaceName(spec.Name, maxInterfaceName))
	if !c.oneOf(path+".type", spec.Type,
		v1alpha1.InterfaceNSMVlan, v1alpha1.InterfaceNetworkAttachment, v1alpha1.InterfaceHostDevice, v1alpha1.InterfaceMacvlan) {
		return
	}
	if spec.Type == v1alpha1.InterfaceNetworkAttachment {
		for field, value := range map[string]string{".ipv4-prefix": spec.PrefixIPv4, ".ipv6-prefix": spec.PrefixIPv6} {
			if value != "" {
				c.errorf(path+field, "must be empty with type network-attachment: the attachment assigns the addresses")
			}
		}
	} else {
		c.externalPrefix(path+".ipv4-prefix", spec.PrefixIPv4, true)
		c.externalPrefix(path+".ipv6-prefix", spec.PrefixIPv6, false)
	}
	if spec.Type == v1alpha1.InterfaceNSMVlan {
		c.nsmVlan(path+".nsm-vlan", spec.NSMVlan)
	} else if spec.NSMVlan != nil {
		c.errorf(path+".nsm-vlan", "must be empty with type %s", spec.Type)
	}
	c.macvlan(path+".macvlan", spec)
	if spec.Type == v1alpha1.InterfaceNetworkAttachment {
		c.networkAttachments(path+".network-attachments", spec.NetworkAttachments)
	} else if len(spec.NetworkAttachments) != 0 {
		c.errorf(path+".network-attachments", "must be empty with type %s", spec.Type)
	}
}

func (c *checker) externalPrefix(path, value string, is4 bool) {
	if value == "" {
		return
	}
	p, err := ParseAddressRanges(value)
	switch {
	case err != nil:
		c.check(path, err)
	case p.Addr().Is4() != is4:
		c.errorf(path, "%s is an %s prefix", p, familyOf(p.Addr()))
	}
}

func (c *checker) nsmVlan(path string, vlan *v1alpha1.NSMVlan) {
	if vlan == nil {
		c.errorf(path, "is missing; type nsm-vlan needs base-interface and vlan-id")
		return
	}
	c.check(path+".base-interface", checkInterfaceName(vlan.BaseInterface, 15))
	switch {
	case vlan.VlanID == nil:
		c.errorf(path+".vlan-id", "is missing; 0 means untagged")
	case *vlan.VlanID < 0 || *vlan.VlanID > 4094:
		c.errorf(path+".vlan-id", "must be between 0 and 4094, not %d", *vlan.VlanID)
	}
}

func (c *checker) macvlan(path string, spec *v1alpha1.InterfaceSpec) {
	switch {
	case spec.Type == v1alpha1.InterfaceMacvlan && spec.Macvlan == nil:
		c.errorf(path, "is missing; type macvlan needs base-interface")
	case spec.Type == v1alpha1.InterfaceMacvlan:
		c.check(path+".base-interface", checkInterfaceName(spec.Macvlan.BaseInterface, 15))
	case spec.Macvlan != nil:
		c.errorf(path, "must be empty with type %s", spec.Type)
	}
}

func (c *checker) networkAttachments(path string, attachments []v1alpha1.NetworkAttachment) {
	if len(attachments) != 1 {
		c.errorf(path, "must have exactly one entry, not %d", len(attachments))
	}
	for i, a := range attachments {
		p := index(path, i)
		if len(a.Name) > maxName || !subdomainPattern.MatchString(a.Name) {
			c.errorf(p+".name", "%q is not the name of a NetworkAttachmentDefinition", a.Name)
		}
		if len(a.Namespace) > maxNamespace || !labelPattern.MatchString(a.Namespace) {
			c.errorf(p+".namespace", "%q is not a namespace", a.Namespace)
		}
		if a.Interface != "" {
			c.check(p+".interface", checkInterfaceName(a.Interface, maxInterfaceName))
		}
	}
}

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
		return
	}
	if spec.Static != nil {
		c.errorf("spec.static", "must be empty with protocol bgp")
	}
	c.bgp("spec.bgp", spec.BGP)
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
	c.duration(path+".hold-time", bgp.HoldTime, 3*time.Second, 65535*time.Second)
	c.bfd(path+".bfd", bgp.BFD)
	if bgp.Auth != nil {
		c.bgpAuth(path+".auth", bgp.Auth)
	}
}

func (c *checker) asn(path string, asn *uint32) {
	switch {
	case asn == nil:
		c.errorf(path, "is missing; protocol bgp needs it")
	case *asn == 0:
		c.errorf(path, "must be between 1 and 4294967295")
	}
}

// keySourcePattern is the name of a Secret, with the capitals that Meridio's
// v1alpha1 allowed.
var keySourcePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func (c *checker) bgpAuth(path string, auth *v1alpha1.BGPAuth) {
	if !keyNamePattern.MatchString(auth.KeyName) {
		c.errorf(path+".key-name", "%q is not a key; use letters, digits, '.', '-' and '_'", auth.KeyName)
	}
	if len(auth.KeySource) > maxName || !keySourcePattern.MatchString(auth.KeySource) {
		c.errorf(path+".key-source", "%q is not the name of a Secret", auth.KeySource)
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
}

func (c *checker) duration(path, value string, least, most time.Duration) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		c.errorf(path, "%q is not a duration; write a number with ms, s, m or h", value)
	case d < least || d > most:
		c.errorf(path, "must be between %s and %s, not %s", shortDuration(least), shortDuration(most), value)
	}
}

// shortDuration drops the zero minutes and seconds that Duration.String adds.
func shortDuration(d time.Duration) string {
	s := d.Truncate(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
