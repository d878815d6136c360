// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Attachment is one workload's secondary interface: what is wanted and what is
// observed.
type Attachment struct {
	TypeMeta
	Metadata ObjectMeta       `json:"metadata"`
	Spec     AttachmentSpec   `json:"spec"`
	Status   AttachmentStatus `json:"status,omitzero"`
}

// AttachmentSpec is the wanted state of an Attachment.
type AttachmentSpec struct {
	// NetworkService is "<conduit>.<trench>".
	NetworkService string `json:"network-service"`
	// Interface is the name in the workload, 1 to 15 characters.
	Interface string `json:"interface"`
	// Streams are names of Stream objects that the workload joins.
	Streams []string `json:"streams,omitempty"`
	// Addresses are fixed addresses in CIDR form, if any are wanted.
	Addresses []string `json:"addresses,omitempty"`
	// Target is the stable name of the workload in the balancers' tables.
	Target string `json:"target,omitempty"`
	// NetNS is the path of the workload's network namespace.
	NetNS string `json:"netns"`
}

// AttachmentStatus is the observed state of an Attachment.
type AttachmentStatus struct {
	Status
	// Addresses are on the interface now, VIPs apart.
	Addresses []string `json:"addresses,omitempty"`
	// Vips are the service addresses on the interface now.
	Vips []string `json:"vips,omitempty"`
	// Endpoints are the endpoints that the interface has a leg to.
	Endpoints []string `json:"endpoints,omitempty"`
}

// GetType implements Object.
func (o *Attachment) GetType() *TypeMeta { return &o.TypeMeta }

// GetMeta implements Object.
func (o *Attachment) GetMeta() *ObjectMeta { return &o.Metadata }

// GetStatus implements Object.
func (o *Attachment) GetStatus() *Status { return &o.Status.Status }
