// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Values of InterfaceSpec.Type.
const (
	// InterfaceNSMVlan is a VLAN on a node's interface, given by the mesh.
	InterfaceNSMVlan = "nsm-vlan"
	// InterfaceNetworkAttachment is an interface made by Multus.
	InterfaceNetworkAttachment = "network-attachment"
	// InterfaceHostDevice is an interface that is there already.
	InterfaceHostDevice = "host-device"
	// InterfaceMacvlan is a macvlan interface on a node's interface.
	InterfaceMacvlan = "macvlan"
)

// Attractor is a group of frontends: what brings a conduit's traffic in.
type Attractor struct {
	TypeMeta
	Metadata ObjectMeta    `json:"metadata"`
	Spec     AttractorSpec `json:"spec"`
	Status   Status        `json:"status,omitzero"`
}

// AttractorSpec is the wanted state of an Attractor.
type AttractorSpec struct {
	// Replicas is the number of frontends; default 1.
	Replicas *int32 `json:"replicas,omitempty"`
	// Composites is the name of the one Conduit that the attractor serves.
	Composites []string `json:"composites"`
	// Gateways are names of Gateway objects.
	Gateways []string `json:"gateways,omitempty"`
	// Vips are names of Vip objects to announce.
	Vips []string `json:"vips,omitempty"`
	// Interface is the external interface.
	Interface InterfaceSpec `json:"interface"`
	// GracefulRestart is how long BGP gateways keep the routes of a frontend that
	// restarts (RFC 4724), a duration up to 4095s; 0s: not at all; default 60s.
	GracefulRestart string `json:"graceful-restart,omitempty"`
	// RouterID of BGP, in the form of an IPv4 address, for an attractor with one
	// replica; by default it is made of the replica's name.
	RouterID string `json:"router-id,omitempty"`
}

// InterfaceSpec describes an external interface.
type InterfaceSpec struct {
	// Name of the interface, 1 to 13 characters.
	Name string `json:"name"`
	// PrefixIPv4 is a prefix, or a range like "10.0.0.2-10.0.0.9/24", several
	// joined by ';', for the frontends' own addresses.
	PrefixIPv4 string `json:"ipv4-prefix,omitempty"`
	// PrefixIPv6 is the same for IPv6.
	PrefixIPv6 string `json:"ipv6-prefix,omitempty"`
	// Type is nsm-vlan (the default), network-attachment, host-device or macvlan.
	Type string `json:"type,omitempty"`
	// NSMVlan belongs to type nsm-vlan.
	NSMVlan *NSMVlan `json:"nsm-vlan,omitempty"`
	// Macvlan belongs to type macvlan.
	Macvlan *Macvlan `json:"macvlan,omitempty"`
	// NetworkAttachments belongs to type network-attachment and has one entry.
	NetworkAttachments []NetworkAttachment `json:"network-attachments,omitempty"`
}

// NSMVlan names a VLAN.
type NSMVlan struct {
	BaseInterface string `json:"base-interface,omitempty"`
	// VlanID is 0 (untagged) to 4094.
	VlanID *int32 `json:"vlan-id,omitempty"`
}

// Macvlan names the interface that a macvlan interface is made on.
type Macvlan struct {
	BaseInterface string `json:"base-interface,omitempty"`
}

// NetworkAttachment names a NetworkAttachmentDefinition of Multus.
type NetworkAttachment struct {
	Name string `json:"name,omitempty"`
	// Namespace is "default" when empty.
	Namespace string `json:"namespace,omitempty"`
	// Interface is the wanted interface name, 1 to 13 characters.
	Interface string `json:"interface,omitempty"`
}

// GetType implements Object.
func (o *Attractor) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Attractor) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Attractor) GetStatus() *Status { return &o.Status }
