// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// StatelessLB is the only ConduitSpec.Type.
const StatelessLB = "stateless-lb"

// Conduit is a network function in a trench that workloads connect to. On the
// mesh it is the network service "<conduit>.<trench>".
type Conduit struct {
	TypeMeta
	Metadata ObjectMeta  `json:"metadata"`
	Spec     ConduitSpec `json:"spec"`
	Status   Status      `json:"status,omitzero"`
}

// ConduitSpec is the wanted state of a Conduit.
type ConduitSpec struct {
	// Type is stateless-lb (the default).
	Type string `json:"type,omitempty"`
	// DestinationPortNats are the destination ports to translate.
	DestinationPortNats []PortNat `json:"destination-port-nats,omitempty"`
	// MSSClamp lowers the MSS option of TCP SYNs, both ways, to what fits the
	// MTUs of the external interface and of the target's leg. Default false.
	MSSClamp bool `json:"mss-clamp,omitempty"`
	// Affinity keeps established flows with their targets; default off.
	Affinity *Affinity `json:"affinity,omitempty"`
}

// MaxAffinityFlows is the most that Affinity.MaxFlows can be.
const MaxAffinityFlows = 1 << 24

// Affinity makes a load balancer remember the targets of the flows that it saw
// last, so that they stay where they are when targets come, go or change their
// weight.
type Affinity struct {
	// MaxFlows is how many flows each load balancer remembers, up to
	// 16777216; the one that was idle the longest is forgotten first. 0 is off.
	MaxFlows int32 `json:"max-flows,omitempty"`
}

// PortNat translates one destination port of some VIPs, and back in the replies.
// A target-port stands for one port only per VIP and protocol.
type PortNat struct {
	// Port is the port that clients use, 1 to 65535.
	Port uint16 `json:"port"`
	// TargetPort is the port that targets see, 1 to 65535.
	TargetPort uint16 `json:"target-port"`
	// Vips are names of Vip objects. A range inside another one takes over the
	// translations of that one; its own win.
	Vips []string `json:"vips"`
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
}

// GetType implements Object.
func (o *Conduit) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Conduit) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Conduit) GetStatus() *Status { return &o.Status }
