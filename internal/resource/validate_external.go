// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
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
	if spec.GracefulRestart != "" {
		// RFC 4724, 3: twelve bits of seconds.
		c.duration("spec.graceful-restart", spec.GracefulRestart, 0, 4095*time.Second)
	}
	c.routerID("spec.router-id", spec)
}

func (c *checker) routerID(path string, spec *v1alpha1.AttractorSpec) {
	if spec.RouterID == "" {
		return
	}
	// RFC 6286: any 32 bits but zero.
	if a, err := netip.ParseAddr(spec.RouterID); err != nil || !a.Is4() || a.IsUnspecified() {
		c.errorf(path, "%q is not a router id; write it as an IPv4 address that is not 0.0.0.0", spec.RouterID)
	} else if *spec.Replicas > 1 {
		c.errorf(path, "cannot be one for %d replicas: each needs its own; leave it out, and it is made of the replica's name", *spec.Replicas)
	}
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

// duration returns the value and whether it is within the bounds.
func (c *checker) duration(path, value string, least, most time.Duration) (time.Duration, bool) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		c.errorf(path, "%q is not a duration; write a number with ms, s, m or h", value)
		return 0, false
	case d < least || d > most:
		c.errorf(path, "must be between %s and %s, not %s", shortDuration(least), shortDuration(most), value)
		return 0, false
	}
	return d, true
}

// shortDuration drops the zero minutes and seconds that Duration.String adds.
func shortDuration(d time.Duration) string {
	s := d.Truncate(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
