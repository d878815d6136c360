// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"context"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"

	"github.com/weft-project/weft/pkg/networkservice/nselabel"
)

// Labels by which an endpoint says, for each of its network services, how remote
// legs go.
const (
	MechanismLabel = "weft.dev/mechanism"
	PolicyLabel    = "weft.dev/mechanism-policy"
)

// Values of the labels.
const (
	VXLAN     = "vxlan"
	WireGuard = "wireguard"
	Preferred = "preferred"
	Required  = "required"
)

// Policy says how the remote legs of a network service go. The zero value is
// plain VXLAN.
type Policy struct {
	// Encrypt prefers WireGuard.
	Encrypt bool
	// Required refuses everything else.
	Required bool
}

// ParsePolicy reads the values of both labels; empty ones mean VXLAN, preferred.
func ParsePolicy(mechanism, policy string) (Policy, error) {
	var p Policy
	switch mechanism {
	case "", VXLAN:
	case WireGuard:
		p.Encrypt = true
	default:
		return p, fmt.Errorf("mechanism %q is neither %s nor %s", mechanism, VXLAN, WireGuard)
	}
	switch policy {
	case "", Preferred:
	case Required:
		p.Required = true
	default:
		return p, fmt.Errorf("mechanism policy %q is neither %s nor %s", policy, Preferred, Required)
	}
	return p, nil
}

// Labels returns what an endpoint registers for the values of both labels.
func Labels(mechanism, policy string) map[string]string {
	labels := map[string]string{}
	if mechanism != "" {
		labels[MechanismLabel] = mechanism
	}
	if policy != "" {
		labels[PolicyLabel] = policy
	}
	return labels
}

// offers returns the mechanisms to offer, the preferred one first. Encryption,
// which costs, is not offered unasked.
func (p Policy) offers() []string {
	switch {
	case p.Encrypt && p.Required:
		return []string{wireguard.MECHANISM}
	case p.Encrypt:
		return []string{wireguard.MECHANISM, vxlan.MECHANISM}
	}
	return []string{vxlan.MECHANISM}
}

// accepts reports whether an offer of a mechanism may be taken.
func (p Policy) accepts(kind string) bool { return !p.Required || kind == p.offers()[0] }

// policyOf returns the policy of the endpoint that a connection goes to.
func policyOf(ctx context.Context, conn *networkservice.Connection, otherwise Policy) (Policy, error) {
	labels := nselabel.Of(ctx, conn)
	if labels[MechanismLabel] == "" && labels[PolicyLabel] == "" {
		return otherwise, nil
	}
	p, err := ParsePolicy(labels[MechanismLabel], labels[PolicyLabel])
	if err != nil {
		return p, fmt.Errorf("labels of endpoint %s: %w", conn.GetNetworkServiceEndpointName(), err)
	}
	return p, nil
}
