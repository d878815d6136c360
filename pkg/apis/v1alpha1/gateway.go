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
	// TTLSecurity is how many hops away the router may be by the TTL of its
	// packets (RFC 5082), 1 to 254; default: the TTL is not looked at.
	TTLSecurity *uint8 `json:"ttl-security,omitempty"`
	// Multihop is the TTL of packets to a router that is not on the link, 2 to
	// 255; default: it is on the link.
	Multihop *uint8 `json:"multihop,omitempty"`
	// ExtendedNextHop exchanges IPv4 routes with IPv6 next hops (RFC 8950) over a
	// session with an IPv6 address.
	ExtendedNextHop bool `json:"extended-next-hop,omitempty"`
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
	// Strict, of bgp only: no BGP session before BFD is up.
	Strict bool `json:"strict,omitempty"`
	// Multihop is for a router that is not on the link (RFC 5883).
	Multihop bool `json:"multihop,omitempty"`
	// Auth is off by default.
	Auth *BFDAuth `json:"auth,omitempty"`
}

// Values of BFDAuth.Type.
const (
	BFDAuthNone           = "none"
	BFDAuthSHA1           = "keyed-sha1"
	BFDAuthMeticulousSHA1 = "meticulous-keyed-sha1"
)

// BFDAuth is how BFD packets are authenticated (RFC 5880, 6.7).
type BFDAuth struct {
	// Type is none (the default), keyed-sha1 or meticulous-keyed-sha1.
	Type string `json:"type,omitempty"`
	// KeyID is 0 to 255, the same at the router.
	KeyID *uint16 `json:"key-id,omitempty"`
	// KeyName and KeySource name the key of a Secret, of 1 to 20 bytes.
	KeyName   string `json:"key-name,omitempty"`
	KeySource string `json:"key-source,omitempty"`
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
