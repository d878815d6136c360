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
}

// PortNat translates one destination port of some VIPs.
type PortNat struct {
	// Port is the port that clients use, 1 to 65535.
	Port uint16 `json:"port"`
	// TargetPort is the port that targets see, 1 to 65535.
	TargetPort uint16 `json:"target-port"`
	// Vips are names of Vip objects.
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
