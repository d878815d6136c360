// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Values of FlowSpec.Protocols and PortNat.Protocol.
const (
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp"
)

// Flow is a classification rule that maps traffic to one stream. The flow with
// the highest priority that matches wins; traffic that matches none is dropped.
type Flow struct {
	TypeMeta
	Metadata ObjectMeta `json:"metadata"`
	Spec     FlowSpec   `json:"spec"`
	Status   Status     `json:"status,omitzero"`
}

// FlowSpec is the wanted state of a Flow. Empty subnets or ports mean any.
type FlowSpec struct {
	// Stream is the name of the Stream that gets the traffic.
	Stream string `json:"stream,omitempty"`
	// Vips are names of Vip objects: the destination addresses.
	Vips []string `json:"vips"`
	// SourceSubnets are prefixes in CIDR form that do not overlap.
	SourceSubnets []string `json:"source-subnets,omitempty"`
	// SourcePorts are "n", "n-m" or "any", and do not overlap.
	SourcePorts []string `json:"source-ports,omitempty"`
	// DestinationPorts are "n", "n-m" or "any", and do not overlap.
	DestinationPorts []string `json:"destination-ports,omitempty"`
	// TargetPort is the port that targets see, 1 to 65535, instead of the one
	// destination port that the flow then has. It wins over the translations
	// of the conduit. Default: no translation by the flow.
	TargetPort uint16 `json:"target-port,omitempty"`
	// Protocols are tcp, udp and sctp.
	Protocols []string `json:"protocols"`
	// Priority is 0 to 2147483647; the highest wins, and among equals the
	// name that sorts first.
	Priority int32 `json:"priority"`
	// ByteMatches match bytes from the start of the L4 header, for example
	// "tcp[2:2] & 0xfff0 = 0x0fa0": offset 0 to 60, width 1, 2 or 4, at most
	// 10. All of the packet's protocol must hold; a packet that ends before
	// the bytes does not match.
	ByteMatches []string `json:"byte-matches,omitempty"`
}

// GetType implements Object.
func (o *Flow) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Flow) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Flow) GetStatus() *Status { return &o.Status }
