// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Values of GatewaySpec.Protocol.
const (
	ProtocolBGP    = "bgp"
	ProtocolStatic = "static"
)

// Defaults of gateways.
const (
	DefaultBGPHoldTime   = "240s"
	DefaultBGPPort       = 179
	DefaultBFDMultiplier = 3
	DefaultBFDBGPTimer   = "300ms"
	DefaultBFDTimer      = "200ms"
)

// Gateway is an external router.
type Gateway struct {
	TypeMeta
	Metadata ObjectMeta  `json:"metadata"`
	Spec     GatewaySpec `json:"spec"`
	Status   Status      `json:"status,omitzero"`
}

// GatewaySpec is the wanted state of a Gateway.
type GatewaySpec struct {
	// Address of the router.
	Address string `json:"address"`
	// Protocol is bgp (the default) or static.
	Protocol string `json:"protocol,omitempty"`
	// BGP belongs to protocol bgp.
	BGP *BGP `json:"bgp,omitempty"`
	// Static belongs to protocol static.
	Static *Static `json:"static,omitempty"`
}

// BGP is a BGP session with the router.
type BGP struct {
	LocalASN  *uint32 `json:"local-asn,omitempty"`
	RemoteASN *uint32 `json:"remote-asn,omitempty"`
	// HoldTime is a duration of at least 3s; default 240s.
	HoldTime string `json:"hold-time,omitempty"`
	// LocalPort and RemotePort are 179 by default.
	LocalPort  *uint16 `json:"local-port,omitempty"`
	RemotePort *uint16 `json:"remote-port,omitempty"`
	// BFD is off by default.
	BFD *BFD `json:"bfd,omitempty"`
	// Auth is MD5 authentication (RFC 2385).
	Auth *BGPAuth `json:"auth,omitempty"`
}

// Static is a gateway with fixed routes.
type Static struct {
	// BFD is on by default.
	BFD *BFD `json:"bfd,omitempty"`
}

// BFD is a BFD session with the router.
type BFD struct {
	Switch *bool `json:"switch,omitempty"`
	// MinTx and MinRx are durations; default 300ms with bgp, 200ms with static.
	MinTx string `json:"min-tx,omitempty"`
	MinRx string `json:"min-rx,omitempty"`
	// Multiplier is 1 to 255; default 3.
	Multiplier *uint16 `json:"multiplier,omitempty"`
}

// BGPAuth names the key of a Secret.
type BGPAuth struct {
	KeyName   string `json:"key-name,omitempty"`
	KeySource string `json:"key-source,omitempty"`
}

// GetType implements Object.
func (o *Gateway) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Gateway) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Gateway) GetStatus() *Status { return &o.Status }
