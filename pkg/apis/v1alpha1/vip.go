// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Vip is a service address: the destination of a flow's traffic and the source
// of the replies.
type Vip struct {
	TypeMeta
	Metadata ObjectMeta `json:"metadata"`
	Spec     VipSpec    `json:"spec"`
	Status   Status     `json:"status,omitzero"`
}

// VipSpec is the wanted state of a Vip.
type VipSpec struct {
	// Address is a prefix in CIDR form: a /32 or /128, or a range such as a /28
	// or /120. Ranges may be nested: the longest prefix that contains an
	// address is its VIP, and what holds for the ranges around it holds there
	// as well.
	Address string `json:"address,omitempty"`
}

// GetType implements Object.
func (o *Vip) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Vip) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Vip) GetStatus() *Status { return &o.Status }
