// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Values of TrenchSpec.IPFamily.
const (
	IPv4      = "ipv4"
	IPv6      = "ipv6"
	Dualstack = "dualstack"
)

// Trench is an isolated network. Two trenches may use the same addresses and
// ports at once.
type Trench struct {
	TypeMeta
	Metadata ObjectMeta `json:"metadata"`
	Spec     TrenchSpec `json:"spec"`
	Status   Status     `json:"status,omitzero"`
}

// TrenchSpec is the wanted state of a Trench.
type TrenchSpec struct {
	// IPFamily is ipv4, ipv6 or dualstack (the default).
	IPFamily string `json:"ip-family,omitempty"`
}

// GetType implements Object.
func (o *Trench) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Trench) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Trench) GetStatus() *Status { return &o.Status }
